// The shapes of wa-js 4.6.0 that a gateway meets: Wid, MsgKey, ChatModel, MsgModel, WPPError, the emitter, the
// enumerations.

export class WPPError extends Error {
  constructor(code, message, extra = {}) {
    super(message);
    this.code = code;
    Object.assign(this, extra);
  }
}

export class Wid {
  constructor(serialized) {
    this._serialized = serialized;
    [this.user, this.server] = serialized.split("@");
  }
  static isWid(value) {
    return /^[0-9-]{1,40}@(c\.us|lid|g\.us)$/.test(String(value));
  }
  equals(other) {
    return other instanceof Wid && other._serialized === this._serialized;
  }
  isGroup() {
    return this.server === "g.us";
  }
  isLid() {
    return this.server === "lid";
  }
  isUser() {
    return this.server === "c.us" || this.server === "lid";
  }
  toJSON() {
    return this._serialized;
  }
  toString() {
    return this._serialized;
  }
}

export function assertWid(value) {
  if (value instanceof Wid) return value;
  if (!Wid.isWid(value)) throw new WPPError("invalid_wid", `Invalid WID value for ${value}`, { id: value });
  return new Wid(String(value));
}

export class MsgKey {
  constructor({ fromMe, remote, id, participant }) {
    Object.assign(this, { fromMe, remote, id, participant });
    this._serialized = [fromMe, remote, id, participant].filter((part) => part !== undefined).join("_");
  }
  static fromString(serialized) {
    const [fromMe, remote, id, participant] = String(serialized).split("_");
    if (!id) throw new Error(`Invalid message key ${serialized}`);
    return new MsgKey({ fromMe: fromMe === "true", remote: new Wid(remote), id, participant: participant && new Wid(participant) });
  }
  static async newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(9));
    // the prefix of ids that WhatsApp Web makes
    return "3EB0" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("").toUpperCase();
  }
  equals(other) {
    return other instanceof MsgKey && other._serialized === this._serialized;
  }
  clone() {
    return MsgKey.fromString(this._serialized);
  }
  toString() {
    return this._serialized;
  }
}

export class MsgModel {
  constructor(row) {
    const key = MsgKey.fromString(row.id);
    const media = row.media;
    Object.assign(this, {
      id: key,
      body: row.body,
      caption: row.caption,
      type: row.type,
      subtype: row.subtype,
      t: row.t,
      from: row.from && new Wid(row.from),
      to: row.to && new Wid(row.to),
      author: row.author ? new Wid(row.author) : undefined,
      notifyName: row.notifyName,
      ack: row.ack,
      isNewMsg: row.isNewMsg ?? false,
      quotedStanzaID: row.quoted ? MsgKey.fromString(row.quoted).id : undefined,
      quotedMsgKey: row.quoted ? MsgKey.fromString(row.quoted) : undefined,
      isForwarded: row.forwarded ?? false,
      forwardingScore: row.forwarded ? 1 : 0,
      isViewOnce: row.viewOnce ?? false,
      lat: row.lat,
      lng: row.lng,
      loc: row.loc,
      clientUrl: row.clientUrl,
      vcardFormattedName: row.vcardFormattedName,
      vcardList: row.vcardList,
      pollName: row.pollName,
      selectedId: row.selectedId,
      latestEditMsgKey: row.edit && MsgKey.fromString(row.edit.id),
      latestEditSenderTimestampMs: row.edit && row.edit.t * 1000,
      ...(media ? { mimetype: media.mimetype, size: media.size, filename: media.filename, filehash: media.filehash, mediaData: { ...media } } : {}),
    });
  }
}

export class ChatModel {
  constructor(id) {
    this.id = id;
    this.t = 0;
    this.rows = new Map();
    this.operations = new Map(); // edits, revokes and reactions that are on their way to the phone
  }
  get unreadCount() {
    let count = 0;
    for (const row of this.rows.values()) if (!row.fromMe && !row.read) count += 1;
    return count;
  }
  get hasUnread() {
    return this.unreadCount > 0;
  }
  get isGroup() {
    return this.id.isGroup();
  }
}

export class Emitter {
  #listeners = new Map();
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    return this;
  }
  off(event, listener) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? []).filter((known) => known !== listener && known.listener !== listener));
    return this;
  }
  once(event, listener) {
    const first = (...details) => {
      this.off(event, first);
      listener(...details);
    };
    first.listener = listener;
    return this.on(event, first);
  }
  emit(event, ...details) {
    const listeners = this.#listeners.get(event) ?? [];
    for (const listener of listeners) listener(...details);
    return listeners.length > 0;
  }
}

export const ACK = { MD_DOWNGRADE: -7, INACTIVE: -6, CONTENT_UNUPLOADABLE: -5, CONTENT_TOO_BIG: -4, CONTENT_GONE: -3, EXPIRED: -2, FAILED: -1, CLOCK: 0, SENT: 1, RECEIVED: 2, READ: 3, PLAYED: 4, PEER: 5 };
const named = (...names) => Object.fromEntries(names.map((name) => [name, name]));
export const SendMsgResult = named("OK", "ERROR_NETWORK", "ERROR_EXPIRED", "ERROR_CANCELLED", "ERROR_UPLOAD", "ERROR_UNKNOWN");
export const StreamMode = named("QR", "MAIN", "SYNCING", "OFFLINE", "CONFLICT", "PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK", "DEPRECATED_VERSION");
export const StreamInfo = named("OFFLINE", "OPENING", "PAIRING", "SYNCING", "RESUMING", "CONNECTING", "NORMAL");
