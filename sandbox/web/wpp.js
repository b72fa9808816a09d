// The object `WPP` of this page: the functions and events of wa-js 4.6.0 that a gateway uses, with the same names,
// arguments and results.
// A contract test compares it with the published type declarations.

import { createChat } from "./chat.js";
import { ACK, ChatModel, Emitter, MsgKey, MsgModel, SendMsgResult, StreamInfo, StreamMode, WPPError, Wid } from "./shapes.js";
import { openStore } from "./store.js";
import { Phone } from "./phone.js";

function randomKey() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
}

export async function createWPP() {
  const store = await openStore();
  let profile = await store.read("profile");
  if (!profile) {
    profile = { device: crypto.randomUUID(), staticKeyPair: randomKey(), identityKeyPair: randomKey(), secretKey: randomKey() };
    await store.keep("profile", profile);
  }
  let link = await store.read("link");
  const phone = new Phone(profile.device, link?.credential ?? "");
  const events = new Emitter();
  const chats = new Map();
  const lids = new Map();
  const stream = { mode: link ? StreamMode.SYNCING : undefined, info: StreamInfo.OPENING, progress: 0 };
  const delivering = new Set(); // ids of the messages that the phone has not taken yet
  const waiting = new Set(); // ends the wait of each of them
  let ref = null;
  let mainReady = false;

  const me = () => (link ? new Wid(`${link.phone}@c.us`) : undefined);
  const myLid = () => (link ? new Wid(`${link.lid}@lid`) : undefined);
  // each link of a number is another device of it
  const device = () => (link ? new Wid(`${link.phone}:${[...link.credential].reduce((sum, one) => (sum * 31 + one.charCodeAt(0)) % 9973, 1)}@c.us`) : undefined);
  // after the current step: a listener that calls `WPP` again must find the state complete
  const later = (event, ...details) => queueMicrotask(() => events.emit(event, ...details));

  async function lidFor(wid) {
    // as WhatsApp does for some people: the phone number leads to a chat that is known by another id
    if (wid.server !== "c.us" || !wid.user.endsWith("7")) return wid;
    if (!lids.has(wid.user)) {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(wid.user)));
      const number = digest.reduce((sum, byte) => (sum * 256n + BigInt(byte)), 0n) % 10n ** 13n;
      lids.set(wid.user, new Wid(`1${number.toString().padStart(13, "0")}@lid`));
    }
    return lids.get(wid.user);
  }

  function chatOf(id) {
    if (!chats.has(id)) chats.set(id, new ChatModel(new Wid(id)));
    return chats.get(id);
  }

  function remember(row) {
    const chat = chatOf(row.chat);
    if (isOperation(row)) {
      chat.operations.set(row.id, row);
      return;
    }
    chat.rows.set(row.id, row);
    chat.t = Math.max(chat.t, row.t);
  }

  const isOperation = (row) => row.type === "protocol" || row.type === "reaction";

  function revoke(row, by) {
    Object.assign(row, { type: "revoked", body: "", caption: undefined, revokedBy: by.id });
  }

  function reactionEvent(row, sender) {
    const { id, text, t } = row.reactions[sender];
    return { id: MsgKey.fromString(id), msgId: MsgKey.fromString(row.id), reactionText: text, read: false, sender: new Wid(sender), orphan: 0, orphanReason: null, timestamp: t };
  }

  function setMode(mode, info, progress) {
    const changed = mode !== stream.mode;
    Object.assign(stream, { mode, info, progress: progress ?? stream.progress });
    if (changed) later("conn.stream_mode_changed", mode);
    later("conn.stream_info_changed", info);
    if ((mode === StreamMode.MAIN || mode === StreamMode.QR) && !mainReady) {
      mainReady = true;
      later("conn.main_ready");
    }
    if (mode === StreamMode.MAIN) for (const wake of waiting) wake();
  }

  // Before the page counts as synchronised it asks the phone which of the unacknowledged messages have arrived.
  async function catchUp() {
    const own = [...chats.values()].flatMap((chat) => [...chat.rows.values(), ...chat.operations.values()]).filter((row) => row.fromMe);
    // a message that was never taken, and those whose further acks may have been missed
    const open = own.filter((row) => row.ack >= ACK.CLOCK && row.ack < ACK.READ);
    const told = await phone.ask("sync", { pending: open.map((row) => row.id) });
    for (const row of open) {
      if (told?.acks[row.id]) await (isOperation(row) ? settle(row) : acknowledge(row.id, row.chat, told.acks[row.id]));
      // kept before it was sent, and the page was closed before the phone took it: sent now under the same id
      else if (row.ack === ACK.CLOCK && !delivering.has(row.id)) deliver(row).catch((error) => console.error("send", error));
    }
  }

  // The phone has it; its effect was kept together with it.
  async function settle(operation) {
    chatOf(operation.chat).operations.delete(operation.id);
    await store.dropMessage(operation.id);
  }

  async function acknowledge(id, chat, ack) {
    const row = chatOf(chat).rows.get(id);
    if (!row || ack <= row.ack) return;
    // acks only grow: an older one may come after a newer
    row.ack = ack;
    await store.keepMessages([row]);
    later("chat.msg_ack_change", { ack, chat: new Wid(chat), ids: [MsgKey.fromString(id)], ...(chatOf(chat).isGroup && ack > 1 ? { sender: new Wid(chat) } : {}) });
  }

  // Hands a message to the phone, waiting while it is away, and resolves with one of wa-js's SendMsgResult, or with a
  // code that a tester ordered.
  async function deliver(row) {
    delivering.add(row.id);
    try {
      // for ever: WhatsApp Web too keeps a message until the phone can be reached
      for (let again = false; ; again = true) {
        const told = (again && (await arrivedBefore(row))) || (reachable() && (await uploaded(row)) && (await phone.ask("send", row)));
        if (told) {
          if (told.result === SendMsgResult.OK) await (isOperation(row) ? settle(row) : acknowledge(row.id, row.chat, told.ack));
          return told.result;
        }
        await untilReachable();
      }
    } finally {
      delivering.delete(row.id);
    }
  }

  // A file goes before its message; one that the phone has already is not sent again.
  async function uploaded(row) {
    if (!row.media || row.forwarded) return true;
    const file = await store.file(row.media.filehash);
    return !file || Boolean(await phone.upload(file));
  }

  const reachable = () => stream.mode === StreamMode.MAIN || stream.mode === StreamMode.SYNCING;

  // The line may have broken after the phone took the message: what it knows is not handed over again.
  async function arrivedBefore(row) {
    const ack = reachable() && (await phone.ask("sync", { pending: [row.id] }))?.acks[row.id];
    return ack ? { ack, result: SendMsgResult.OK } : null;
  }

  function untilReachable() {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        waiting.delete(wake);
        resolve();
      };
      // also without a change of mode: a single call may have failed
      const timer = setTimeout(wake, 1000);
      waiting.add(wake);
    });
  }

  async function receive(rows, twice, quiet) {
    const tell = quiet ? () => {} : later;
    for (const row of rows) {
      if (isOperation(row)) await change(row, tell);
      else await receiveMessage(row, twice, tell);
    }
    // confirmed only when everything is kept: what is lost before that comes again
    if (rows.length) await phone.ask("sync", { received: rows.map((row) => row.id) });
  }

  async function receiveMessage(row, twice, tell) {
    // the phone repeats what was not confirmed, so that a message may come twice
    if (chatOf(row.chat).rows.has(row.id)) return;
    const side = row.fromMe ? { from: String(me()), to: row.chat, ack: ACK.SENT } : { from: row.chat, to: String(me()), ack: ACK.RECEIVED };
    const kept = { ...row, ...side, isNewMsg: true };
    remember(kept);
    // before the event: a listener may read the message from a page that is loaded again
    await store.keepMessages([kept]);
    if (twice) tell("chat.new_message", new MsgModel({ ...kept, type: "ciphertext", body: undefined, media: undefined, caption: undefined }));
    tell("chat.new_message", new MsgModel(kept));
  }

  // Another party edited, revoked, or reacted to a message that is here.
  async function change(row, tell) {
    const target = chatOf(row.chat).rows.get(row.target);
    if (!target) return;
    // an operation may come twice as well
    const known = [target.edit?.id, target.revokedBy, ...Object.values(target.reactions ?? {}).map((made) => made.id)].includes(row.id);
    if (known) return;
    if (row.type === "reaction") {
      target.reactions = { ...target.reactions, [row.sender]: { id: row.id, text: row.body, t: row.t * 1000 } };
      await store.keepMessages([target]);
      tell("chat.new_reaction", reactionEvent(target, row.sender));
    } else if (row.subtype === "message_edit") {
      target[target.type === "chat" ? "body" : "caption"] = row.body;
      target.edit = { id: row.id, t: row.t };
      await store.keepMessages([target]);
      tell("chat.msg_edited", { chat: new Wid(target.to), id: target.id, msg: new MsgModel(target) });
    } else {
      // wa-js emits the event before the message is changed
      const author = row.author ? new Wid(row.author) : undefined;
      tell("chat.msg_revoke", { author, from: new Wid(target.from), id: MsgKey.fromString(row.id), refId: MsgKey.fromString(target.id), to: new Wid(target.to), type: "revoke" });
      revoke(target, row);
      await store.keepMessages([target]);
    }
  }

  async function leave(reason) {
    // before the page is left: a link that is kept would be tried again with the next page
    await store.forgetLink();
    link = undefined;
    phone.close();
    events.emit("conn.logout_reason", reason);
    events.emit("conn.logout");
    location.href = "/web/?post_logout=1&logout_reason=0";
  }

  const faults = {
    hang(amount) {
      const end = performance.now() + amount * 1000;
      // the page's only thread is held: no timer, no event and no call of a gateway gets through
      while (performance.now() < end);
    },
    burn(amount) {
      // busy for 90 of 100 milliseconds, so that it still answers
      const end = performance.now() + amount * 1000;
      (function round() {
        const rest = performance.now() + 90;
        while (performance.now() < rest);
        if (performance.now() < end) setTimeout(round, 10);
      })();
    },
    leak(amount) {
      const kept = (window.leaked ??= []);
      setInterval(() => kept.push(new Uint8Array(amount * 2 ** 20).fill(1)), 1000);
    },
    reload: () => location.reload(),
    script_error: () => setTimeout(() => { throw new Error("ordered by the tester"); }),
  };

  const pushes = {
    ref(event) {
      ref = event.ref;
      WPP.conn.getAuthCode().then((code) => events.emit("conn.auth_code_change", code));
    },
    async linked(event) {
      link = { phone: event.phone, lid: event.lid, credential: event.credential };
      await store.keep("link", link);
      phone.credential = event.credential;
      ref = null;
      later("conn.auth_code_change", null);
      later("conn.authenticated");
    },
    async stream(event) {
      // before the mode is shown: a gateway that sends at MAIN must not overtake what still waits
      if (event.mode === StreamMode.MAIN) await catchUp();
      setMode(event.mode, event.info, event.progress);
      if (event.mode === StreamMode.QR) later("conn.require_auth");
    },
    messages: (event) => receive(event.messages, event.double, event.quiet),
    ack: (event) => acknowledge(event.id, event.chat, event.ack),
    logout: (event) => leave(event.reason),
    fault: (event) => faults[event.what](event.amount),
  };
  let turn = Promise.resolve(); // pushes are worked off one after the other, in the order in which they came
  phone.onpush = (event) => {
    turn = turn.then(() => pushes[event.type](event)).catch((error) => console.error(event.type, error));
  };
  phone.onlost = () => {
    if (stream.mode !== StreamMode.QR && stream.mode !== undefined) setMode(StreamMode.OFFLINE, StreamInfo.OFFLINE);
  };

  const conn = {
    isAuthenticated: () => Boolean(link),
    isRegistered: () => Boolean(link),
    isMainReady: () => mainReady,
    isOnline: () => stream.mode !== StreamMode.OFFLINE,
    needsUpdate: () => stream.mode === StreamMode.DEPRECATED_VERSION,
    getStreamData: () => ({ mode: stream.mode, info: stream.info }),
    getHistorySyncProgress: () => ({ progress: stream.progress, paused: false, inProgress: stream.progress < 100 }),
    getMyUserWid: me,
    getMyUserLid: myLid,
    getMyUserId: me,
    getMyDeviceId: device,
    async getAuthCode() {
      if (link || !ref) return null;
      const { staticKeyPair, identityKeyPair, secretKey } = profile;
      return { type: "multidevice", ref, staticKeyPair, identityKeyPair, secretKey, fullCode: [ref, staticKeyPair, identityKeyPair, secretKey].join(",") };
    },
    async genLinkDeviceCodeForPhoneNumber(number) {
      if (link) throw new WPPError("cannot_get_code_for_already_authenticated", "Cannot get code for already authenticated user");
      if (!number) throw new WPPError("send_the_phone_number_to_connect", "Please send the phone number");
      return (await phone.ask("pair", {}))?.code;
    },
    async logout() {
      const left = new Promise((resolve) => events.once("conn.logout", resolve));
      await phone.ask("logout", {});
      await left;
      return true;
    },
  };

  // what the profile kept is there before anything comes in
  for (const row of await store.messages()) remember({ ...row, isNewMsg: false });

  const chat = createChat({ store, phone, chats, chatOf, remember, later, deliver, lidFor, reachable, me, myLid, revoke, reactionEvent });

  const WPP = {
    version: "4.6.0",
    supportedWhatsappWeb: "sandbox",
    license: "MIT",
    isInjected: true,
    isReady: true,
    isFullReady: true,
    conn,
    chat,
    whatsapp: { Wid, MsgKey, MsgModel, ChatModel, enums: { ACK, SendMsgResult, StreamMode, StreamInfo } },
    on: events.on.bind(events),
    off: events.off.bind(events),
    once: events.once.bind(events),
  };
  return { WPP, open: () => phone.open(), chats, device: profile.device };
}
