-- reserve_spend --
-- Reserve money of this month; no row: the budget has not so much left.
INSERT INTO model_spend AS s (company_id, month, reserved_micros)
SELECT %(company_id)s, date_trunc('month', now() AT TIME ZONE 'UTC')::date, %(micros)s
WHERE %(budget)s::bigint IS NULL OR %(micros)s <= %(budget)s
ON CONFLICT (company_id, month) DO UPDATE SET reserved_micros = s.reserved_micros + excluded.reserved_micros
WHERE %(budget)s::bigint IS NULL OR s.spent_micros + s.reserved_micros + excluded.reserved_micros <= %(budget)s
RETURNING month;

-- add_model_call --
-- Write that a model is about to be asked.
INSERT INTO model_calls (company_id, run, model, month, reserved_micros)
VALUES (%(company_id)s, %(run)s, %(model)s, %(month)s, %(micros)s) RETURNING id;

-- end_model_call --
-- Write how a call ended and settle its money, once. `cost` null: what was reserved, for it is not known.
WITH ended AS (
    UPDATE model_calls SET state = %(state)s, reason = %(reason)s, cost_micros = coalesce(%(cost)s, reserved_micros),
        tokens_in = %(tokens_in)s, tokens_out = %(tokens_out)s, took_ms = %(took_ms)s, answer = %(answer)s,
        ended_at = now()
    WHERE id = %(id)s AND state = 'asked'
    RETURNING company_id, run, month, reserved_micros, cost_micros, tokens_in, tokens_out, model
), settled AS (
    UPDATE model_spend s SET reserved_micros = s.reserved_micros - e.reserved_micros,
        spent_micros = s.spent_micros + e.cost_micros, calls = s.calls + 1, tokens_in = s.tokens_in + e.tokens_in,
        tokens_out = s.tokens_out + e.tokens_out
    FROM ended e WHERE s.company_id = e.company_id AND s.month = e.month
), counted AS (
    UPDATE turns t SET cost_micros = t.cost_micros + e.cost_micros, tokens_in = t.tokens_in + e.tokens_in,
        tokens_out = t.tokens_out + e.tokens_out, model = e.model
    FROM ended e WHERE e.run = 'turn-' || t.id AND t.id = %(turn_id)s AND t.company_id = e.company_id
)
SELECT cost_micros FROM ended;

-- lost_model_calls --
-- Calls of a run whose answer will never be known: their process died, or they were given up.
SELECT id FROM model_calls WHERE company_id = %(company_id)s AND run = %(run)s AND state = 'asked' ORDER BY id;

-- run_calls --
-- What models answered in a run, in order, with what it cost.
SELECT id, model, answer, cost_micros, tokens_in, tokens_out FROM model_calls
WHERE company_id = %(company_id)s AND run = %(run)s AND state = 'answered' AND answer IS NOT NULL ORDER BY id;

-- run_cost --
-- What a run has cost, all calls together.
SELECT coalesce(sum(cost_micros), 0)::bigint AS micros, coalesce(sum(tokens_in + tokens_out), 0)::bigint AS tokens
FROM model_calls WHERE company_id = %(company_id)s AND run = %(run)s;

-- run_tools --
-- What tools answered in a run.
SELECT model_call_id, position, name, state, digest, result FROM tool_calls
WHERE company_id = %(company_id)s AND run = %(run)s ORDER BY id;

-- begin_tool_call --
-- Take the key of a tool's call; no row: it was taken before.
INSERT INTO tool_calls (company_id, run, model_call_id, position, name, state, digest)
VALUES (%(company_id)s, %(run)s, %(model_call_id)s, %(position)s, %(name)s, 'running', %(digest)s)
ON CONFLICT (model_call_id, position) DO NOTHING RETURNING id;

-- end_tool_call --
-- Write what a tool answered.
UPDATE tool_calls SET state = %(state)s, result = %(result)s, ended_at = now()
WHERE model_call_id = %(model_call_id)s AND position = %(position)s AND state = 'running' RETURNING id;

-- forget_run --
-- Remove what was said in a run that has ended; that it was said, and what it cost, stays.
WITH calls AS (
    UPDATE model_calls SET answer = NULL WHERE company_id = %(company_id)s AND run = %(run)s AND answer IS NOT NULL
)
UPDATE tool_calls SET result = NULL WHERE company_id = %(company_id)s AND run = %(run)s AND result IS NOT NULL;

-- prune_model_calls --
-- Remove calls of long ago, with those of their tools.
DELETE FROM model_calls WHERE id IN (SELECT id FROM model_calls
                                     WHERE asked_at < now() - make_interval(secs => %(age_s)s)
                                     ORDER BY asked_at LIMIT %(most)s)
RETURNING id;
