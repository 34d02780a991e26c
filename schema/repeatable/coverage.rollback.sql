DROP VIEW IF EXISTS coverage_report, coverage_gaps;
DROP FUNCTION IF EXISTS coverage_evidence, coverage_streams;
