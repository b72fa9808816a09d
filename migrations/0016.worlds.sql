-- depends: 0015.installation
-- What a message was accepted for; null: accepted before this was known, and nothing is compared.
-- The world is sandbox or live; the account is the provider's (phone number id, Page) or the number that a browser
-- session is linked as.
ALTER TABLE messages ADD COLUMN world text CHECK (world IN ('sandbox', 'live')), ADD COLUMN account text;
