// The line to the phone: pushes come as server-sent events, calls go as POST. A call that the phone cannot take now
// waits until it can.

export class Phone {
  constructor(device, credential) {
    this.device = device;
    this.credential = credential;
    this.onpush = () => {};
    this.onlost = () => {};
  }

  open() {
    const query = new URLSearchParams({ device: this.device, credential: this.credential });
    this.source = new EventSource(`/web/phone/stream?${query}`);
    this.source.onmessage = (event) => this.onpush(JSON.parse(event.data));
    this.source.onerror = () => {
      this.onlost();
      // the credential may have changed since the line was opened: open anew instead of letting the old address be
      // tried again
      this.source.close();
      setTimeout(() => this.open(), 500);
    };
  }

  close() {
    this.source?.close();
  }

  // Resolves with the answer, or with null when the phone is away or out of reach; rejects when it refuses for good.
  async ask(path, body) {
    let answer;
    try {
      answer = await fetch(`/web/phone/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ device: this.device, credential: this.credential, ...body }),
      });
    } catch {
      return null;
    }
    return this.#told(answer);
  }

  // Uploads a file; resolves as `ask`.
  async upload(file) {
    try {
      return await this.#told(await fetch(`/web/phone/media?${this.#who()}`, { method: "POST", body: file }));
    } catch {
      return null;
    }
  }

  // Resolves with the file, or with null when the phone does not have it any more or is out of reach.
  async download(filehash) {
    try {
      const answer = await fetch(`/web/phone/media?${this.#who({ filehash })}`);
      return answer.ok ? await answer.blob() : null;
    } catch {
      return null;
    }
  }

  #who(more = {}) {
    return new URLSearchParams({ device: this.device, credential: this.credential, ...more });
  }

  async #told(answer) {
    // the phone is away: the call may be repeated
    if (answer.status === 503) return null;
    const told = await answer.json();
    if (!answer.ok) throw new Error(`${told.code}: ${told.detail}`);
    return told;
  }
}
