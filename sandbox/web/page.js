// The page that a person sees; everything it does goes through `WPP`, as a gateway's calls do.

import { createWPP } from "./wpp.js";

const part = (id) => document.getElementById(id);
const TICKS = { "-1": "failed", 0: "…", 1: "✓", 2: "✓✓", 3: "read" };

const { WPP, open, chats, device } = await createWPP();
let shown = null;

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).detail);
}

function draw() {
  const { mode } = WPP.conn.getStreamData();
  const linked = WPP.conn.isAuthenticated();
  part("mode").textContent = mode ? mode.toLowerCase() : "opening";
  part("me").textContent = linked ? `+${WPP.conn.getMyUserWid().user}` : "";
  part("link").hidden = linked || mode !== "QR";
  part("chats").hidden = !linked;
  const known = [...chats.values()].filter((chat) => chat.rows.size).sort((one, other) => other.t - one.t);
  shown ??= known[0]?.id._serialized ?? null;
  part("list").replaceChildren(...known.map((chat) => {
    const button = document.createElement("button");
    button.textContent = chat.id.user + (chat.unreadCount ? ` (${chat.unreadCount})` : "");
    button.toggleAttribute("aria-current", chat.id._serialized === shown);
    button.onclick = () => { shown = chat.id._serialized; if (chat.id.server === "c.us") part("to").value = chat.id.user; draw(); };
    return button;
  }));
  const rows = [...(chats.get(shown)?.rows.values() ?? [])].sort((one, other) => one.t - other.t).slice(-200);
  part("messages").replaceChildren(...rows.map((row) => {
    const line = document.createElement("li");
    line.className = row.fromMe ? "mine" : "";
    line.textContent = row.body;
    if (row.fromMe) line.append(Object.assign(document.createElement("small"), { textContent: TICKS[row.ack] ?? row.ack }));
    return line;
  }));
  part("messages").scrollTop = part("messages").scrollHeight;
}

// bursts of events are drawn once, 150 ms later: drawing each would hold up the page under load
let drawing = false;
function redraw() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => { drawing = false; draw(); }, 150);
}

WPP.on("conn.auth_code_change", (code) => {
  if (code) part("qr").src = `/web/qr.svg?${new URLSearchParams({ code: code.fullCode })}`;
  redraw();
});
for (const event of ["conn.stream_mode_changed", "conn.authenticated", "chat.new_message", "chat.msg_ack_change"]) WPP.on(event, redraw);

part("scan").onclick = () => post("/control/web/scan", { device }).catch((error) => alert(error.message));
part("write").onsubmit = async (event) => {
  event.preventDefault();
  const number = part("to").value.replace(/\D/g, "");
  const text = part("text").value;
  part("text").value = "";
  try {
    shown = (await WPP.chat.find(`${number}@c.us`)).id._serialized;
    if (part("as").value === "me") await WPP.chat.sendTextMessage(`${number}@c.us`, text, { waitForAck: false, linkPreview: false });
    else await post(`/control/web/devices/${device}/messages`, { from: number, body: text });
  } catch (error) {
    alert(error.message);
  }
};

window.WPP = WPP;
open();
draw();
