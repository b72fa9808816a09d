-- Money that companies spend on embeddings; what the assistant spends is reserved and settled by its own statements.

-- charge_spend --
-- Charge money of this month before it is spent; no row: the budget has not so much left.
INSERT INTO model_spend AS s (company_id, month, spent_micros)
SELECT %(company_id)s, date_trunc('month', now() AT TIME ZONE 'UTC')::date, %(micros)s
WHERE %(budget)s::bigint IS NULL OR %(micros)s <= %(budget)s
ON CONFLICT (company_id, month) DO UPDATE SET spent_micros = s.spent_micros + excluded.spent_micros
WHERE %(budget)s::bigint IS NULL OR s.spent_micros + s.reserved_micros + excluded.spent_micros <= %(budget)s
RETURNING month;

-- correct_spend --
-- Correct what was charged, and count the call.
UPDATE model_spend
SET spent_micros = spent_micros + %(micros)s, calls = calls + 1, tokens_in = tokens_in + %(tokens_in)s
WHERE company_id = %(company_id)s AND month = %(month)s;
