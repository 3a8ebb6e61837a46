-- There is no way down: a rollback runs the older release on the newer schema.
-- So every migration only adds, and what an older release needs stays.

-- +goose Up
CREATE TABLE metric_samples (
    source     text             NOT NULL,
    metric     text             NOT NULL,
    sampled_at timestamptz      NOT NULL,
    value      double precision NOT NULL,
    PRIMARY KEY (source, metric, sampled_at)
);

-- For queries over all sources; the primary key serves those of one series.
CREATE INDEX metric_samples_sampled_at ON metric_samples (sampled_at);
