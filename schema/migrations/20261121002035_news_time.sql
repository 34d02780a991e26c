-- Catalysts of a symbol are sought from the newest on: most symbols are found within the last days, without sorting what is kept.

CREATE INDEX IF NOT EXISTS news_time_idx ON news ("time" DESC);
