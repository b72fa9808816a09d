// Tasks: what another process does for an operator.

import { Refusal, get, path } from "/dashboard/api.js";

const LOOK_MS = 1000;
const LONGEST_MS = 120000;

/** Return a task when it is finished; throw its problem. `seen(task)`: called at each look. */
export async function finished(companyId, task, seen = () => {}) {
  const by = Date.now() + LONGEST_MS;
  let now = task;
  while (now.status === "queued" || now.status === "running") {
    if (Date.now() > by) throw new Refusal(0, { detail: `It is not finished yet: task ${now.id} goes on.` });
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    now = await get(path("api/v2/tasks", companyId, now.id));
    seen(now);
  }
  if (now.status === "failed") throw new Refusal(409, { detail: now.problem?.detail ?? "It failed." });
  return now;
}
