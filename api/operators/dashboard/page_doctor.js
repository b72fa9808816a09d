// `bulkhead doctor`: machine, settings, servers, keys, webhooks; each fault with what to do.

import { get, may, send } from "/dashboard/api.js";
import { announce, button, el } from "/dashboard/dom.js";
import { table } from "/dashboard/table.js";
import { clock, marked, pill, quiet } from "/dashboard/words.js";

const PATH = "/api/v2/installation/doctor";
const ORDER = ["fail", "warn", "ok"];

const load = () => get(PATH);

const counted = (checks, result, word) => {
  const count = checks.filter((one) => one.result === result).length;
  return count ? `${count} ${word}` : "";
};

function summary(doctor) {
  if (doctor.state === "running") return "The checks run; this takes some seconds.";
  if (doctor.state === "failed") return `The checks did not come to an end: ${doctor.problem}`;
  if (doctor.state === "never") return "Nothing was checked since Bulkhead started.";
  const wrong = [counted(doctor.checks, "fail", "failed"), counted(doctor.checks, "warn", "with a warning")];
  return `${doctor.checks.length} checks, ${wrong.filter(Boolean).join(", ") || "all are well"}.`;
}

function view(doctor, context) {
  const run = async () => {
    try {
      await send("POST", PATH);
      announce("The checks run");
    } catch (error) {
      announce(error.message);
    }
    context.after();
  };
  const worstFirst = [...doctor.checks].sort((one, other) => ORDER.indexOf(one.result) - ORDER.indexOf(other.result));
  return [
    el(
      "p",
      { className: "quiet" },
      "What ",
      el("code", {}, "bulkhead doctor"),
      ` finds on ${doctor.host}: machine, settings, PostgreSQL, Redis, ports, Chromium, keys, webhooks. Checking changes nothing.`,
    ),
    el(
      "p",
      { className: "big" },
      button("Check now", run, { className: "primary", disabled: doctor.state === "running" }),
      " ",
      el("span", { role: "status", id: "doctor-summary" }, summary(doctor)),
      doctor.finishedAt ? [" ", quiet("at "), clock(doctor.finishedAt)] : "",
    ),
    doctor.checks.length
      ? table({
          name: "Checks",
          rows: worstFirst,
          key: (one, at) => `${one.check}-${at}`,
          empty: "",
          columns: [
            ["check", (one) => one.check, "lead narrow"],
            ["result", (one) => pill(one.result, one.result === "fail" ? "failed" : one.result), "lead"],
            ["finding", (one) => marked(one.finding), "text"],
            ["what to do", (one) => marked(one.mend ?? ""), "text seldom"],
          ],
        })
      : null,
  ];
}

export const doctor = {
  name: "doctor",
  title: () => "Doctor",
  allowed: () => may("operate", true),
  load,
  view,
  every: 2000,
};
