"""What keeps pure sources running: feed.py holds an exchange's websockets open."""
