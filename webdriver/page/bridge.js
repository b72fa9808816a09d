// The gateway's side inside the page. Evaluated once in every document as (install)(bindingName, epoch); uses `WPP`
// (wa-js) and nothing else of the page. Every function resolves with {ok, …} and never throws, so that a missing answer
// always means a broken connection.

(bindingName, epoch) => {
  if (window.__bulkhead) return window.__bulkhead.epoch;

  const underWay = new Set(); // tokens of the operations that have not ended in this page
  // files that were handed to the page for a send, and files that are read out of it, by a name of the gateway's
  const files = new Map();
  let seq = 0;

  const text = (value) => (value === undefined || value === null ? "" : String(value));
  const number = (value) => (Number.isFinite(Number(value)) ? Number(value) : 0);
  const only = (fields) =>
    Object.fromEntries(
      Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== ""),
    );

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

  // what the page holds of one message, without thumbnails: a picture's body is one
  function plain(message) {
    const type = text(message.type);
    const media =
      message.mediaData || message.filehash
        ? {
            mimetype: text(message.mimetype),
            size: number(message.size),
            filename: text(message.filename),
            filehash: text(message.filehash),
          }
        : undefined;
    return {
      id: text(message.id),
      chat: text(message.id.remote),
      fromMe: Boolean(message.id.fromMe),
      type,
      body: typeof message.body === "string" && !media ? message.body : "",
      t: number(message.t),
      from: text(message.from),
      to: text(message.to),
      author: text(message.author),
      notifyName: text(message.notifyName),
      ack: number(message.ack),
      ...only({
        caption: typeof message.caption === "string" ? message.caption : "",
        quoted: text(message.quotedMsgKey ?? message.quotedStanzaID),
        forwarded: message.isForwarded || undefined,
        viewOnce: message.isViewOnce || undefined,
        edit: text(message.latestEditMsgKey),
        editedAt: message.latestEditMsgKey ? number(message.latestEditSenderTimestampMs) / 1000 : undefined,
        media,
        ...(type === "location"
          ? { lat: message.lat, lng: message.lng, loc: text(message.loc), url: text(message.clientUrl) }
          : {}),
        ...(type === "multi_vcard" ? { vcards: (message.vcardList ?? []).map((row) => text(row.vcard)) } : {}),
        selected: text(
          message.selectedButtonId ?? message.selectedId ?? message.listResponse?.singleSelectReply?.selectedRowId,
        ),
        subtype: text(message.subtype),
      }),
    };
  }

  const reaction = (made, target) => ({
    id: text(made.id),
    target: text(made.msgId ?? target),
    emoji: text(made.reactionText),
    sender: text(made.sender ?? made.senderUserJid),
    t: number(made.timestamp),
  });

  // wa-js names a group message in an ack by who acknowledged it; we know it by its sender, ourselves
  function ownId(key) {
    const remote = text(key.remote);
    return remote.endsWith("@g.us") ? `true_${remote}_${key.id}_${text(WPP.conn.getMyUserLid())}` : text(key);
  }

  // names the link to the phone: own number and device; another link of the same number has another device
  function myLink() {
    return WPP.conn.isAuthenticated() ? text(WPP.conn.getMyDeviceId()) : "";
  }

  function synchronised() {
    const { progress } = WPP.conn.getHistorySyncProgress();
    // nought means that no history is on its way; a profile linked long ago shows it for ever
    return WPP.conn.isAuthenticated() && WPP.conn.getStreamData().mode === "MAIN" && !(progress > 0 && progress < 100);
  }

  const sending = (id, args) => ({
    messageId: id,
    waitForAck: true,
    markIsRead: false,
    detectMentioned: false,
    ...(args.quoted ? { quotedMsg: args.quoted } : {}),
  });

  function sent(answer) {
    const result = answer.sendMsgResult;
    return { id: text(answer.id), ack: number(answer.ack), result: text(result?.messageSendResult ?? result) };
  }

  const missing = (error) => error?.code === "msg_not_found";
  const done = (id) => ({ id, ack: 1, result: "OK" });

  // a message of ours is there under the id that was chosen for it
  async function known(chat, id) {
    const message = await WPP.chat.getMessageById(id).catch((error) => {
      if (!missing(error)) throw error;
      return null;
    });
    return message && { ack: number(message.ack) };
  }

  async function myReaction(target) {
    const { reactionByMe: mine } = await WPP.chat.getReactions(target);
    return { id: text(mine?.id), emoji: text(mine?.reactionText) };
  }

  function refuse(code) {
    throw Object.assign(new Error(code), { code });
  }

  // forwarding accepts no id: what we forwarded is the first own forwarded message of this content after the newest one
  // that was there before
  async function forwarded(chat, args) {
    const source = await WPP.chat.getMessageById(args.target);
    const rows = await WPP.chat.getMessages(chat, {
      count: 50,
      ...(args.after ? { id: args.after, direction: "after" } : {}),
    });
    const same = (row) =>
      row.type === source.type &&
      (row.filehash ? row.filehash === source.filehash : text(row.body) === text(source.body));
    const found = rows.find((row) => row.id.fromMe && row.isForwarded && text(row.id) !== args.after && same(row));
    return found && { id: text(found.id), ack: number(found.ack) };
  }

  // Each operation: `run` carries it out and resolves with {id, ack, result}; `find` resolves with {ack, id?} when its
  // effect is there, else with nothing.
  const operations = {
    text: {
      run: async (chat, id, args) =>
        sent(await WPP.chat.sendTextMessage(chat, args.body, { ...sending(id, args), linkPreview: false })),
      find: known,
    },
    file: {
      run: async (chat, id, args) =>
        sent(
          await WPP.chat.sendFileMessage(chat, files.get(args.file) ?? refuse("file_not_given"), {
            ...sending(id, args),
            ...args.options,
          }),
        ),
      find: known,
    },
    location: {
      run: async (chat, id, args) =>
        sent(await WPP.chat.sendLocationMessage(chat, { ...sending(id, args), ...args.place })),
      find: known,
    },
    contacts: {
      run: async (chat, id, args) => sent(await WPP.chat.sendRawMessage(chat, args.raw, sending(id, args))),
      find: known,
    },
    edit: {
      async run(chat, id, args) {
        await WPP.chat.editMessage(args.target, args.body, {
          messageId: id,
          markIsRead: false,
          detectMentioned: false,
          linkPreview: false,
        });
        // wa-js returns no result of an edit: the message itself shows whether it was made
        return (await operations.edit.find(chat, id, args)) ? done(id) : { id, ack: 0, result: "" };
      },
      async find(chat, id, args) {
        const message = await WPP.chat.getMessageById(args.target);
        const now = message.type === "chat" ? text(message.body) : text(message.caption);
        return message.latestEditMsgKey && (text(message.latestEditMsgKey) === id || now === args.body.trim())
          ? { ack: 1 }
          : null;
      },
    },
    revoke: {
      async run(chat, id, args) {
        // a message of another person wa-js would delete here instead, and call that a success
        if (!args.target.startsWith("true_")) refuse("not_own_message");
        const answer = await WPP.chat.deleteMessage(chat, args.target, false, true);
        return answer.isRevoked ? done(id) : { id, ack: 0, result: text(answer.sendMsgResult) };
      },
      async find(chat, id, args) {
        const message = await WPP.chat
          .getMessageById(args.target)
          .catch((error) => (missing(error) ? { type: "revoked" } : Promise.reject(error)));
        return message.type === "revoked" ? { ack: 1 } : null;
      },
    },
    remove: {
      async run(chat, id, args) {
        const answer = await WPP.chat.deleteMessage(chat, args.target, false, false);
        return answer.isDeleted ? done(id) : { id, ack: 0, result: text(answer.sendMsgResult) };
      },
      find: async (chat, id, args) => ((await known(chat, args.target)) ? null : { ack: 1 }),
    },
    reaction: {
      async run(chat, id, args) {
        const answer = await WPP.chat.sendReactionToMessage(args.target, args.emoji || false);
        const result = text(answer.sendMsgResult?.messageSendResult ?? answer.sendMsgResult);
        return { ack: 0, result, id: (await myReaction(args.target)).id || id };
      },
      async find(chat, id, args) {
        const mine = await myReaction(args.target);
        return mine.emoji === args.emoji ? { ack: 1, ...(mine.id ? { id: mine.id } : {}) } : null;
      },
    },
    forward: {
      async run(chat, id, args) {
        const failed = await WPP.chat.forwardMessages(chat, [args.target], { displayCaptionText: true });
        const found = await forwarded(chat, args);
        if (found) return { id: found.id, ack: found.ack, result: found.ack >= 1 ? "OK" : "" };
        return { id, ack: 0, result: failed.length ? "ERROR_CANCELLED" : "" };
      },
      find: (chat, id, args) => forwarded(chat, args),
    },
    read: {
      run: async (chat, id) => {
        await WPP.chat.markIsRead(chat);
        return done(id);
      },
    },
    typing: {
      async run(chat, id, args) {
        if (args.state === "paused") await WPP.chat.markIsPaused(chat);
        else if (args.state === "recording") await WPP.chat.markIsRecording(chat);
        else await WPP.chat.markIsComposing(chat);
        // not wa-js's own duration: it would keep this answer back for as long
        if (args.state !== "paused" && args.lasts)
          setTimeout(() => WPP.chat.markIsPaused(chat).catch(() => null), args.lasts * 1000);
        return done(id);
      },
    },
  };

  async function inBatches(rows, work) {
    const found = [];
    for (let start = 0; start < rows.length; start += 20)
      found.push(...(await Promise.all(rows.slice(start, start + 20).map(work))).flat());
    return found;
  }

  async function reactionsTo(id) {
    const { reactions } = await WPP.chat.getReactions(id).catch(() => ({ reactions: [] }));
    return reactions.flatMap((row) => row.senders.map((made) => reaction(made, id)));
  }

  // what happened in one chat since an instant
  async function changesIn(chat, instant, bounds, withReactions) {
    const found = [];
    const recent = chat.t >= instant;
    let rows = await WPP.chat.getMessages(chat.id, { count: recent ? bounds.each : bounds.peek });
    while (recent && rows.length && rows[0].t >= instant && rows.length < bounds.most) {
      const before = await WPP.chat.getMessages(chat.id, {
        count: bounds.each,
        direction: "before",
        id: text(rows[0].id),
      });
      if (!before.length) break;
      rows = [...before, ...rows];
    }
    const unread = chat.hasUnread ? await WPP.chat.getMessages(chat.id, { onlyUnread: true, count: bounds.each }) : [];
    const missed = new Map([...unread, ...rows.filter((row) => row.t >= instant)].map((row) => [text(row.id), row]));
    for (const row of missed.values()) if (row.type !== "revoked") found.push({ event: "message", data: plain(row) });
    for (const row of rows) {
      if (row.type === "revoked")
        found.push({
          event: "revoke",
          data: { id: "", target: text(row.id), author: text(row.author), t: number(row.t) },
        });
      else if (row.latestEditMsgKey && number(row.latestEditSenderTimestampMs) / 1000 >= instant)
        found.push({ event: "edit", data: plain(row) });
    }
    if (withReactions) {
      const made = await inBatches(
        rows.slice(-bounds.peek).map((row) => text(row.id)),
        reactionsTo,
      );
      found.push(...made.filter((row) => row.t / 1000 >= instant).map((data) => ({ event: "reaction", data })));
    }
    return { found, cut: rows.length >= bounds.most && rows[0].t >= instant };
  }

  window.__bulkhead = {
    epoch,

    state: () =>
      answered(async () => {
        if (!WPP.isReady) return { loaded: false, seq };
        const { mode, info } = WPP.conn.getStreamData();
        const authenticated = WPP.conn.isAuthenticated();
        const code = authenticated ? null : await WPP.conn.getAuthCode();
        return {
          loaded: true,
          seq,
          mode: text(mode),
          info: text(info),
          authenticated,
          code: text(code?.fullCode),
          link: myLink(),
        };
      }),

    findChat: (chatId) => answered(async () => text((await WPP.chat.find(chatId)).id)),

    newMessageId: (chatId) => answered(async () => text(await WPP.chat.generateMessageID(chatId))),

    newestMessage: (chatId) =>
      answered(async () => text((await WPP.chat.getMessages(chatId, { count: 1 })).at(-1)?.id)),

    // A file whose size the browser could not look up in time has none, and would be sent as an empty one.
    takeFile: (name, filename, mimetype, size) =>
      answered(async () => {
        const input = document.getElementById(name);
        const [given] = input.files;
        input.remove();
        if (given.size !== size) refuse("file_incomplete");
        files.set(name, new File([given], filename, { type: mimetype }));
      }),

    dropFile: (name) =>
      answered(async () => {
        document.getElementById(name)?.remove();
        files.delete(name);
      }),

    run: (operation, chat, token, args) =>
      answered(async () => {
        underWay.add(token);
        try {
          return await operations[operation].run(chat, token, args);
        } finally {
          underWay.delete(token);
        }
      }),

    lookUp: (operation, chat, token, args) =>
      answered(async () => {
        const certain = synchronised() && !underWay.has(token);
        const link = myLink();
        await WPP.chat.find(chat);
        const found = await operations[operation].find(chat, token, args);
        if (found) return { known: true, link, ...found };
        // the page may have lost its connection between the queries, and an operation that has not ended may still have
        // its effect
        return { known: false, link, certain: certain && synchronised() && !underWay.has(token) && link === myLink() };
      }),

    acks: (messageIds) =>
      answered(async () => {
        const found = {};
        for (const id of messageIds) {
          const message = await WPP.chat.getMessageById(id).catch(() => null);
          if (message) found[id] = number(message.ack);
        }
        return found;
      }),

    // what is unread, and what happened since an instant: messages of both directions, edits, revokes, reactions;
    // newest chats first
    since: (instant, bounds) =>
      answered(async () => {
        const found = [];
        const chats = await WPP.chat.list({ count: bounds.chats });
        let cut = chats.length >= bounds.chats && chats.at(-1).t >= instant;
        let failed = 0;
        for (const [place, chat] of chats.entries()) {
          if (found.length >= bounds.total) return { found, cut: true, failed };
          try {
            const missed = await changesIn(chat, instant, bounds, place < bounds.reacted);
            found.push(...missed.found);
            cut ||= missed.cut;
          } catch {
            // one chat that the page cannot open hides no other
            failed += 1;
          }
        }
        return { found, cut, failed };
      }),

    // Reads a file out of the page in pieces: `openFile` once, `piece` until the size is reached, then `dropFile`.
    openFile: (name, messageId) =>
      answered(async () => {
        const blob = await WPP.chat.downloadMedia(messageId);
        files.set(name, blob);
        return { size: blob.size, mimetype: blob.type };
      }),

    piece: (name, start, length) =>
      answered(async () => {
        const bytes = new Uint8Array(
          await files
            .get(name)
            .slice(start, start + length)
            .arrayBuffer(),
        );
        let binary = "";
        for (let place = 0; place < bytes.length; place += 32768)
          binary += String.fromCharCode(...bytes.subarray(place, place + 32768));
        return btoa(binary);
      }),

    pairingCode: (phone) =>
      answered(async () => {
        const code = await WPP.conn.genLinkDeviceCodeForPhoneNumber(phone, true);
        if (!code) refuse("no_code");
        return code;
      }),

    logOut: () =>
      answered(async () => {
        await WPP.conn.logout();
      }),
  };

  WPP.on("chat.new_message", (message) => report("message", plain(message)));
  WPP.on("chat.msg_ack_change", ({ ack, ids }) => report("ack", { ack, ids: ids.map(ownId) }));
  WPP.on("chat.msg_edited", ({ msg }) => report("edit", plain(msg)));
  WPP.on("chat.msg_revoke", ({ id, refId, author }) =>
    report("revoke", { id: text(id), target: text(refId), author: text(author), t: 0 }),
  );
  WPP.on("chat.new_reaction", (made) => report("reaction", reaction(made)));
  for (const event of [
    "conn.auth_code_change",
    "conn.authenticated",
    "conn.stream_mode_changed",
    "conn.stream_info_changed",
    "conn.main_ready",
    "conn.needs_update",
  ]) {
    WPP.on(event, () => report("changed", event));
  }
  WPP.on("conn.logout", () => report("logout", ""));
  return epoch;
}
