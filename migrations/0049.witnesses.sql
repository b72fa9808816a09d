-- What can prove the outcome of an attempt: the link of a browser session (own number and device) through which it was made; empty: not known, or a provider.
ALTER TABLE messages ADD COLUMN witness text NOT NULL DEFAULT '';
