-- depends: 0175.documents-that-wait
-- Webhooks of the installation, which get its alerts: they belong to no company. No tenant's transaction sees them, since
-- no company equals none.
ALTER TABLE hooks ALTER COLUMN company_id DROP NOT NULL;
