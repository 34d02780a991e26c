DROP TABLE IF EXISTS order_books;
