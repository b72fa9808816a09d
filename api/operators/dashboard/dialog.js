// Dialogs: a question before what cannot be undone, a form, or something that is shown once.

import { announce, button, el } from "/dashboard/dom.js";

let numbered = 0;

function opened(title, content, { wide = false } = {}) {
  const id = `dialog-${(numbered += 1)}`;
  const box = el("dialog", { "aria-labelledby": id, className: wide ? "wide" : "" }, el("h2", { id }, title), content);
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  box.showModal();
  return box;
}

function field(one, at) {
  const id = `field-${numbered}-${at}`;
  const hint = one.hint ? `${id}-hint` : undefined;
  const common = { id, name: one.name, required: one.required, "aria-describedby": hint };
  let input;
  if (one.options) {
    input = el(
      "select",
      common,
      one.options.map(([value, label]) => el("option", { value, selected: value === one.value }, label)),
    );
  } else if (one.type === "textarea") {
    input = el("textarea", { ...common, rows: one.rows ?? 6, spellcheck: "false" }, one.value ?? "");
  } else if (one.type === "checks") {
    return el(
      "fieldset",
      {},
      el("legend", {}, one.label),
      one.choices.map(([value, label]) =>
        el(
          "label",
          { className: "check" },
          el("input", { type: "checkbox", name: one.name, value, checked: (one.value ?? []).includes(value) }),
          label,
        ),
      ),
    );
  } else {
    input = el("input", {
      ...common,
      type: one.type ?? "text",
      value: one.value,
      autocomplete: "off",
      maxlength: one.longest,
      min: one.low,
      max: one.high,
      pattern: one.pattern,
      title: one.rule,
      accept: one.accept,
      multiple: one.multiple,
    });
  }
  return el(
    "p",
    { className: "field" },
    el("label", { for: id }, one.label),
    input,
    hint && el("small", { id: hint, className: "quiet" }, one.hint),
  );
}

/**
 * Ask, then do it. The dialog stays open with the reason when it is refused.
 *   title, text (or nodes), fields, action: label of the button. danger: whether it is marked. match: a text that must be
 *   typed first. run(values, progress): does it and returns what is announced, or a function that shows the result.
 *   after: called when it is done.
 */
export function ask({
  title,
  text,
  fields = [],
  action,
  danger = false,
  match = "",
  run,
  after = () => {},
  wide = false,
}) {
  const all = match
    ? [
        ...fields,
        {
          name: "_match",
          label: `Type ${match} to confirm`,
          required: true,
          pattern: match.replace(/[^A-Za-z0-9]/g, "\\$&"),
          rule: match,
        },
      ]
    : fields;
  const problem = el("p", { className: "bad", role: "alert" });
  const progress = el("p", { className: "quiet", role: "status" });
  const go = el("button", { type: "submit", className: danger ? "danger" : "primary" }, action);
  const no = button("Cancel", () => box.close());
  const form = el(
    "form",
    { method: "dialog" },
    text && (typeof text === "string" ? el("p", {}, text) : text),
    all.map(field),
    problem,
    progress,
    el("p", { className: "buttons" }, no, go),
  );
  form.onsubmit = async (event) => {
    event.preventDefault();
    const data = new FormData(form);
    const values = {};
    for (const one of fields)
      values[one.name] = ["checks", "file"].includes(one.type)
        ? data.getAll(one.name)
        : (data.get(one.name)?.toString() ?? "");
    go.disabled = true;
    problem.textContent = "";
    try {
      const said = await run(values, (words) => {
        progress.textContent = words;
      });
      box.close();
      // what is shown once comes in place of the question
      if (typeof said === "function") return said();
      if (said) announce(said);
      after();
    } catch (error) {
      problem.textContent = [
        error.message,
        ...(error.problem?.errors ?? []).map((one) => `${one.pointer} ${one.reason}`),
      ].join(" ");
      go.disabled = false;
      go.focus();
    }
  };
  const box = opened(title, form, { wide });
  // what is done by Enter at once is harmless: the first field, or the button that leaves
  (form.querySelector("input, select, textarea") ?? no).focus();
  return box;
}

/** Show something that is shown this once, such as a new key. */
export function reveal(title, text, secret, after = () => {}) {
  const output = el("output", { className: "secret", tabindex: "0" }, secret);
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(secret);
      announce("Copied");
      copy.textContent = "Copied";
    } catch {
      // without a secure origin there is no clipboard: it is selected, to be copied by hand
      getSelection().selectAllChildren(output);
    }
  });
  const box = opened(title, [
    el("p", {}, text),
    output,
    el(
      "p",
      { className: "buttons" },
      copy,
      button("Done", () => box.close(), { className: "primary" }),
    ),
  ]);
  box.addEventListener("close", () => after());
  output.focus();
}
