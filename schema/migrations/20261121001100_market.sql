-- The schema that people read; its views are in ../repeatable.

CREATE SCHEMA IF NOT EXISTS market;
