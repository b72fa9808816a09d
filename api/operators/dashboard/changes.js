// One change, as a line: of a process, a connection, a session, an alert, or by a key.

import { el, link } from "/dashboard/dom.js";
import { clock, facts, looks, quiet, words } from "/dashboard/words.js";

const BAD = new Set([
  "process.exited",
  "process.hung",
  "process.quarantined",
  "process.misconfigured",
  "process.start_failed",
  "process.over_memory",
  "alert.fired",
  "hook.disabled",
  "connection.paused",
]);
const GOOD = new Set(["process.ready", "alert.ended", "connection.resumed", "session.linked"]);

function subject(change) {
  if (change.process) return link(`/processes/${encodeURIComponent(change.process)}`, {}, change.process);
  if (change.companyId && change.phoneIndex !== null)
    return link(
      `/connections/${encodeURIComponent(change.companyId)}/${change.phoneIndex}`,
      {},
      `${change.companyId} ${change.phoneIndex}`,
    );
  return change.companyId ?? "";
}

export function changeRow(change) {
  const isAudit = change.type.startsWith("audit.");
  const expected = change.type === "process.exited" && change.facts?.expected;
  const look =
    change.state && change.type === "session.state"
      ? looks(change.state)
      : BAD.has(change.type) && !expected
        ? "bad"
        : GOOD.has(change.type)
          ? "good"
          : "idle";
  const what = isAudit
    ? [quiet("by key "), change.key ?? ""]
    : quiet([change.state && words(change.state), change.detail, facts(change.facts)].filter(Boolean).join(", "));
  return el(
    "li",
    { className: `change is-dot-${look}`, "data-key": change.id },
    clock(change.at),
    " ",
    el(
      "strong",
      {},
      words(
        change.type
          .split(".")
          .slice(isAudit ? 1 : 0)
          .join(" "),
      ),
    ),
    " ",
    subject(change),
    " ",
    what,
  );
}
