// `WPP.chat` of this page: what a gateway calls of wa-js 4.6.0 to send, change and read messages, with the same names,
// arguments and results.

import { ACK, ChatModel, MsgKey, MsgModel, SendMsgResult, WPPError, assertWid } from "./shapes.js";

const DEFAULTS = { detectMentioned: true, linkPreview: true, markIsRead: true, waitForAck: true, delay: 0 };
// bytes: the largest document that the product sends through a page
const UPLOAD_LIMIT = 100 * 2 ** 20;
const EDITABLE = new Set(["chat", "image", "video", "document"]);

const now = () => Math.floor(Date.now() / 1000);

async function hashOf(file) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return btoa(String.fromCharCode(...digest));
}

async function asFile(content, mimetype, filename) {
  const blob = typeof content === "string" ? await (await fetch(content)).blob() : content;
  return new File([blob], filename ?? blob.name ?? "file", { type: mimetype ?? blob.type });
}

// `page`: the parts of the page that this needs; see wpp.js.
export function createChat(page) {
  const { store, phone, chats, chatOf, remember, later, deliver, lidFor } = page;

  function existing(id) {
    const found = chats.get(String(assertWid(id)));
    if (!found) throw new WPPError("chat_not_found", `Chat not found for ${id}`, { id });
    return found;
  }

  function rowOf(id) {
    const key = MsgKey.fromString(id);
    const row = existing(key.remote).rows.get(String(key));
    if (!row) throw new WPPError("msg_not_found", `Message ${key} not found`, { id: String(key) });
    return row;
  }

  async function keyFor(target, wanted) {
    const key = wanted ? MsgKey.fromString(wanted) : await chat.generateMessageID(target);
    if (!key.fromMe) throw new WPPError("message_key_is_not_from_me", "Message key is not from me", { messageId: String(key) });
    if (!key.remote.equals(target.id)) {
      throw new WPPError("message_key_remote_id_is_not_same_of_chat", "Message key remote ID is not same of chat", { messageId: String(key) });
    }
    return key;
  }

  // Makes a message of `content`, keeps it, hands it to the phone, and resolves with wa-js's SendMessageReturn.
  async function send(id, content, options) {
    const wanted = { ...DEFAULTS, ...options };
    const target = await chat.find(id);
    const key = await keyFor(target, wanted.messageId);
    const quoted = wanted.quotedMsg ? rowOf(String(wanted.quotedMsg)).id : undefined;
    if (wanted.markIsRead) await chat.markIsRead(target.id);
    const row = {
      id: String(key), chat: String(target.id), body: "", t: now(), from: String(page.me()), to: String(target.id), fromMe: true, ack: ACK.CLOCK, isNewMsg: true, quoted,
      ...content,
    };
    // kept before it is sent: a page that is closed in between sends it after its next start
    remember(row);
    await store.keepMessages([row]);
    later("chat.new_message", new MsgModel(row));
    const result = deliver(row);
    if (!wanted.waitForAck) {
      result.catch((error) => console.error("send", error));
      return { id: row.id, ack: row.ack, from: row.from, to: row.to, sendMsgResult: null };
    }
    const messageSendResult = await result;
    // a code that a tester ordered: wa-js throws it, and the message does not stay in the chat
    if (!(messageSendResult in SendMsgResult)) {
      target.rows.delete(row.id);
      await store.dropMessage(row.id);
      throw new WPPError(messageSendResult, `ordered by the tester: ${messageSendResult}`);
    }
    if (messageSendResult !== SendMsgResult.OK) {
      row.ack = ACK.FAILED;
      await store.keepMessages([row]);
    }
    return { id: row.id, ack: row.ack, from: row.from, to: row.to, sendMsgResult: { messageSendResult, t: row.t } };
  }

  // Carries out an edit, a revoke or a reaction: kept together with its effect, then handed to the phone; taken back
  // when that fails for good.
  async function operate(target, key, operation, apply) {
    const row = { id: String(key), chat: target.chat, t: now(), fromMe: true, ack: ACK.CLOCK, from: String(page.me()), target: target.id, body: "", ...operation };
    // for taking the effect back when the phone refuses
    const before = structuredClone(target);
    apply(target, row);
    chatOf(target.chat).operations.set(row.id, row);
    await store.keepMessages([row, target]);
    const result = await deliver(row);
    chatOf(target.chat).operations.delete(row.id);
    if (result !== SendMsgResult.OK) {
      for (const name of Object.keys(target)) if (!(name in before)) delete target[name];
      Object.assign(target, before);
      await store.keepMessages([target]);
    }
    await store.dropMessage(row.id);
    if (!(result in SendMsgResult)) throw new WPPError(result, `ordered by the tester: ${result}`);
    return result;
  }

  async function signal(target, kind, more = {}) {
    if (page.reachable()) await phone.ask("signal", { chat: String(target.id), kind, ...more });
  }

  async function presence(id, kind, duration) {
    const target = existing(id);
    await signal(target, kind);
    if (duration) {
      await new Promise((resolve) => setTimeout(resolve, duration));
      await chat.markIsPaused(id);
    }
  }

  const chat = {
    get: (id) => chats.get(String(assertWid(id))),
    async find(id) {
      const wid = await lidFor(assertWid(id));
      if (wid.server === "c.us" && wid.user.length < 7) throw new Error(`Failed to find or create chat for ${id}`);
      return chatOf(String(wid));
    },
    async list(options = {}) {
      const found = [...chats.values()].filter((row) => !options.onlyWithUnreadMessage || row.hasUnread).sort((one, other) => other.t - one.t);
      return found.slice(0, options.count ?? found.length);
    },
    async getMessages(id, options = {}) {
      const found = existing(id);
      if (options.onlyUnread && !found.hasUnread) return [];
      const count = options.onlyUnread ? Math.min(options.count ?? 20, found.unreadCount) : (options.count ?? 20);
      let rows = [...found.rows.values()].filter((row) => !options.onlyUnread || !row.fromMe).sort((one, other) => one.t - other.t);
      const place = options.id ? rows.findIndex((row) => row.id === options.id) : -1;
      if (place >= 0) rows = options.direction === "after" ? rows.slice(place + 1) : rows.slice(0, place);
      const cut = options.direction === "after" ? rows.slice(0, count) : rows.slice(-count);
      return (count < 0 ? rows : cut).map((row) => new MsgModel(row));
    },
    async getMessageById(ids) {
      const found = [ids].flat().map((id) => new MsgModel(rowOf(id)));
      return Array.isArray(ids) ? found : found[0];
    },
    async getMessageACK(id) {
      const { ack } = await chat.getMessageById(id);
      return { ack, fromMe: MsgKey.fromString(id).fromMe, deliveryRemaining: ack < ACK.RECEIVED ? 1 : 0, readRemaining: ack < ACK.READ ? 1 : 0, playedRemaining: 0, participants: [] };
    },
    async getReactions(id) {
      const byText = new Map();
      let reactionByMe;
      for (const [sender, { id: key, text, t }] of Object.entries(rowOf(id).reactions ?? {})) {
        if (!text) continue;
        const row = { id: MsgKey.fromString(key), msgId: MsgKey.fromString(id), reactionText: text, read: true, sender: assertWid(sender), orphan: 0, timestamp: t };
        if (sender === String(page.me())) reactionByMe = { ...row, senderUserJid: row.sender };
        byText.set(text, [...(byText.get(text) ?? []), row]);
      }
      const reactions = [...byText].map(([aggregateEmoji, senders]) => ({ aggregateEmoji, hasReactionByMe: aggregateEmoji === reactionByMe?.reactionText, senders }));
      return { reactionByMe, reactions };
    },
    async generateMessageID(target) {
      const remote = target instanceof ChatModel ? target.id : assertWid(target);
      return new MsgKey({ fromMe: true, remote, id: await MsgKey.newId(), participant: remote.isGroup() ? page.myLid() : undefined });
    },
    async markIsRead(id) {
      const found = existing(id);
      const unread = [...found.rows.values()].filter((row) => !row.fromMe && !row.read);
      for (const row of unread) row.read = true;
      await store.keepMessages(unread);
      await signal(found, "read", { ids: unread.map((row) => row.id) });
      return { wid: found.id, unreadCount: 0 };
    },
    markIsComposing: (id, duration) => presence(id, "composing", duration),
    markIsRecording: (id, duration) => presence(id, "recording", duration),
    markIsPaused: (id) => presence(id, "paused"),
    sendTextMessage: (id, content, options = {}) => send(id, { type: "chat", body: content }, options),
    sendLocationMessage(id, options) {
      const { lat, lng, name, address, url } = options;
      return send(id, { type: "location", lat: Number(lat), lng: Number(lng), loc: [name, address].filter(Boolean).join("\n"), clientUrl: url }, options);
    },
    sendRawMessage: (id, raw, options = {}) => send(id, raw, options),
    async sendFileMessage(id, content, options = {}) {
      const file = await asFile(content, options.mimetype, options.filename);
      if (file.size > UPLOAD_LIMIT) throw new WPPError("file_too_large", `File size ${file.size} exceeds the upload limit`, { fileSize: file.size, limit: UPLOAD_LIMIT });
      const media = { filehash: await hashOf(file), size: file.size, mimetype: file.type, filename: file.name };
      await store.keepFile(media.filehash, file);
      const type = options.type === "audio" && options.isPtt ? "ptt" : options.type;
      return send(id, { type, media, caption: options.caption ?? (type === "document" ? file.name : undefined) }, options);
    },
    async downloadMedia(id) {
      const { media } = rowOf(id);
      if (!media) throw new WPPError("message_not_contains_media", `Message ${id} not contains media`, { id });
      const found = (await store.file(media.filehash)) ?? (await phone.download(media.filehash));
      // as wa-js does it: a plain object, no WPPError
      if (!found) throw { error: true, code: "media_not_found", message: "Media not found" };
      return new Blob([found], { type: media.mimetype });
    },
    async editMessage(id, text, options = {}) {
      const target = rowOf(String(id));
      // WhatsApp takes edits for 15 minutes
      if (!target.fromMe || !EDITABLE.has(target.type) || target.t < now() - 900) throw new WPPError("edit_message_error", "Cannot edit this message");
      const key = await keyFor(chatOf(target.chat), options.messageId);
      const part = target.type === "chat" ? "body" : "caption";
      await operate(target, key, { type: "protocol", subtype: "message_edit", body: text.trim() }, (row, edit) => {
        row[part] = edit.body;
        row.edit = { id: edit.id, t: edit.t };
      });
      later("chat.msg_edited", { chat: assertWid(target.to), id: target.id, msg: new MsgModel(target) });
      // as in wa-js: no result of the edit itself, and the ack of the message that was edited
      return { id: target.id, ack: target.ack, latestEditMsgKey: key, from: target.from, to: target.chat, sendMsgResult: null };
    },
    async deleteMessage(id, ids, _deleteMediaInDevice = false, revoke = false) {
      const target = existing(id);
      const done = [];
      for (const row of [ids].flat().map(rowOf)) {
        let sendMsgResult = SendMsgResult.OK;
        let isRevoked = false;
        // revoking twice is an error, and the message counts as revoked
        if (row.type === "revoked" && revoke) {
          [sendMsgResult, isRevoked] = [SendMsgResult.ERROR_UNKNOWN, true];
        } else if (revoke && row.fromMe) {
          isRevoked = true;
          sendMsgResult = await operate(row, await keyFor(target), { type: "protocol", subtype: "sender_revoke" }, page.revoke);
        } else {
          target.rows.delete(row.id);
          await store.dropMessage(row.id);
          await signal(target, "deleted", { ids: [row.id] });
        }
        done.push({ id: row.id, sendMsgResult, isRevoked, isDeleted: !target.rows.has(row.id), isSentByMe: row.fromMe });
      }
      return Array.isArray(ids) ? done : done[0];
    },
    async sendReactionToMessage(id, reaction) {
      const target = rowOf(String(id));
      const key = await keyFor(chatOf(target.chat));
      const sender = String(page.me());
      const result = await operate(target, key, { type: "reaction", body: reaction || "" }, (row, made) => {
        row.reactions = { ...row.reactions, [sender]: { id: made.id, text: made.body, t: made.t * 1000 } };
      });
      later("chat.new_reaction", page.reactionEvent(target, sender));
      return { sendMsgResult: result };
    },
    async forwardMessages(id, messages) {
      const target = await chat.find(id);
      const failed = [];
      for (const row of messages.map((message) => rowOf(String(message.id ?? message)))) {
        const { type, body, caption, media, lat, lng, loc, clientUrl, vcardFormattedName, vcardList } = row;
        const content = { type, body, caption, media, lat, lng, loc, clientUrl, vcardFormattedName, vcardList, forwarded: true };
        const sent = await send(target.id, content, { markIsRead: false }).catch(() => null);
        if (sent?.sendMsgResult?.messageSendResult !== SendMsgResult.OK) failed.push(row);
      }
      return failed;
    },
  };
  return chat;
}
