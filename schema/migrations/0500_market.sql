CREATE SCHEMA IF NOT EXISTS market;
COMMENT ON SCHEMA market IS 'readable views of all stored data';
