-- +goose Up
-- When a sample was stored: its own time does not tell that of a late one.
-- The default is computed once, so the table is not rewritten, and an older
-- release, which does not know the column, goes on writing.
ALTER TABLE metric_samples ADD COLUMN received_at timestamptz NOT NULL DEFAULT now();
