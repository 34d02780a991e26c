"""KuCoin, spot."""
