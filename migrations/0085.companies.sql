-- Companies: what they are set to, and whether they may act.

ALTER TABLE companies
    -- suspended: nothing is sent and its keys are refused; deleting: it is being removed with everything of it
    ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleting')),
    ADD COLUMN state_reason text NOT NULL DEFAULT '',
    ADD COLUMN state_at timestamptz NOT NULL DEFAULT now(),
    -- what was set (`shared.tenancy.company_settings`); a field that is not there has its default
    ADD COLUMN settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    -- changes with each change of the row that a client sees
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
