DROP TRIGGER IF EXISTS choose_platform_instruments ON instruments;
DROP TRIGGER IF EXISTS choose_platform_instruments ON platform_exchanges;
DROP FUNCTION IF EXISTS choose_platform_instruments;
DROP TABLE IF EXISTS platform_instruments;
