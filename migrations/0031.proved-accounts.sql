-- The provider's ids that a connection's token was proved to reach: number, Page, Instagram account, business account. Events are taken for proved ids
-- only: whoever names somebody else's account in a connection of their own receives nothing that is not theirs.

ALTER TABLE phone_configs ADD COLUMN proved_ids text[] NOT NULL DEFAULT '{}';

-- connections of before have worked without a proof, and go on to do so
UPDATE phone_configs SET proved_ids = ARRAY(
    SELECT DISTINCT id FROM unnest(ARRAY[account_id, waba_id, options ->> 'page_id', options ->> 'instagram_id']) AS id WHERE id <> '');
