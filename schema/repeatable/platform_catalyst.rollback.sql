DROP VIEW IF EXISTS catalyst.news_catalysts;
