// The gateway's side inside the page. Evaluated once in every document as (install)(bindingName, epoch); speaks to `WPP` (wa-js) and to nothing
// else of the page. Every function answers {ok, …} and never throws, so that a missing answer always means a broken line.

(bindingName, epoch) => {
  if (window.__bulkhead) return window.__bulkhead.epoch;

  const sends = new Set(); // ids of the messages whose send has not ended in this page
  let seq = 0;

  const text = (value) => (value === undefined || value === null ? "" : String(value));

  function report(kind, data) {
    seq += 1;
    window[bindingName](JSON.stringify({ epoch, seq, kind, data }));
  }

  async function answered(work) {
    try {
      return { ok: true, value: (await work()) ?? null };
    } catch (error) {
      return { ok: false, code: text(error?.code), name: text(error?.name) };
    }
  }

  function plain(message) {
    return {
      id: text(message.id),
      chat: text(message.id.remote),
      fromMe: Boolean(message.id.fromMe),
      type: text(message.type),
      body: typeof message.body === "string" ? message.body : "",
      caption: typeof message.caption === "string" ? message.caption : "",
      t: Number(message.t) || 0,
      from: text(message.from),
      to: text(message.to),
      author: text(message.author),
      notifyName: text(message.notifyName),
      ack: Number(message.ack ?? 0),
      quoted: text(message.quotedStanzaID),
      forwarded: Boolean(message.isForwarded),
    };
  }

  // wa-js names a group message in an ack by who acknowledged it; we know it by its sender, ourselves
  function ownId(key) {
    const remote = text(key.remote);
    return remote.endsWith("@g.us") ? `true_${remote}_${key.id}_${text(WPP.conn.getMyUserLid())}` : text(key);
  }

  function synchronised() {
    const { progress } = WPP.conn.getHistorySyncProgress();
    // nought means that no history is on its way; a profile linked long ago shows it for ever
    return WPP.conn.isAuthenticated() && WPP.conn.getStreamData().mode === "MAIN" && !(progress > 0 && progress < 100);
  }

  window.__bulkhead = {
    epoch,

    state: () => answered(async () => {
      if (!WPP.isReady) return { loaded: false, seq };
      const { mode, info } = WPP.conn.getStreamData();
      const authenticated = WPP.conn.isAuthenticated();
      const code = authenticated ? null : await WPP.conn.getAuthCode();
      return { loaded: true, seq, mode: text(mode), info: text(info), authenticated, code: text(code?.fullCode) };
    }),

    findChat: (chatId) => answered(async () => text((await WPP.chat.find(chatId)).id)),

    newMessageId: (chatId) => answered(async () => text(await WPP.chat.generateMessageID(chatId))),

    sendText: (chatId, body, messageId, quoted) => answered(async () => {
      sends.add(messageId);
      try {
        const sent = await WPP.chat.sendTextMessage(chatId, body, {
          messageId, waitForAck: true, linkPreview: false, markIsRead: false, detectMentioned: false, ...(quoted ? { quotedMsg: quoted } : {}),
        });
        const result = sent.sendMsgResult;
        return { id: text(sent.id), ack: Number(sent.ack), result: text(result?.messageSendResult ?? result) };
      } finally {
        sends.delete(messageId);
      }
    }),

    lookUp: (chatId, messageId) => answered(async () => {
      const certain = synchronised();
      try {
        await WPP.chat.find(chatId);
        return { known: true, ack: Number((await WPP.chat.getMessageById(messageId)).ack ?? 0) };
      } catch (error) {
        if (error?.code !== "msg_not_found") throw error;
        // the page may have lost its line between the questions, and a send that has not ended may still come
        return { known: false, certain: certain && synchronised() && !sends.has(messageId) };
      }
    }),

    acks: (messageIds) => answered(async () => {
      const found = {};
      for (const id of messageIds) {
        const message = await WPP.chat.getMessageById(id).catch(() => null);
        if (message) found[id] = Number(message.ack ?? 0);
      }
      return found;
    }),

    unread: (chats, each) => answered(async () => {
      const found = [];
      for (const chat of await WPP.chat.list({ onlyWithUnreadMessage: true, count: chats })) {
        found.push(...(await WPP.chat.getMessages(chat.id, { onlyUnread: true, count: each })).map(plain));
      }
      return found;
    }),

    logOut: () => answered(async () => {
      await WPP.conn.logout();
    }),
  };

  WPP.on("chat.new_message", (message) => report("message", plain(message)));
  WPP.on("chat.msg_ack_change", ({ ack, ids }) => report("ack", { ack, ids: ids.map(ownId) }));
  for (const event of ["conn.auth_code_change", "conn.authenticated", "conn.stream_mode_changed", "conn.stream_info_changed", "conn.main_ready", "conn.needs_update"]) {
    WPP.on(event, () => report("changed", event));
  }
  WPP.on("conn.logout", () => report("logout", ""));
  return epoch;
}
