"""The APIs of mempool.space and Etherscan over blocks that a test makes of recorded transactions and transfers.

https://mempool.space/docs/api/rest#get-blocks-v1 https://docs.etherscan.io/api-reference/endpoint/tokentx

Each is a function from the part of the URL that follows the base URL to the body of the response.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TIP = 850_000  # the height of a block of Bitcoin with a recorded transaction
TIME = 1_719_689_674  # seconds; the time of that block
FIRST = 4_620_855  # the height of the block of Ethereum with the first recorded transfer
FIRST_TIME = 1_511_634_257  # seconds; the time of that block
MKR = "0x9f8f72aa9304c8b593d555f12ef6589cc3a579a2"


class MempoolSpace:
    """mempool.space with the blocks that a test adds. A coinbase transaction is added to each."""

    def __init__(self, transactions: list[dict[str, Any]]) -> None:
        self.transactions = {transaction["txid"]: transaction for transaction in transactions}
        self.blocks: dict[int, tuple[str, list[str]]] = {}  # height -> (hash, ids of its transactions)
        self.page = 15  # blocks of one answer
        self.early: set[int] = set()  # heights of the blocks whose timestamp is half an hour too early

    def add(self, height: int, hash_: str, *txids: str) -> None:
        self.blocks[height] = hash_, list(txids)

    def __call__(self, path: str) -> bytes:
        match path.split("/")[1:]:
            case ["api", "v1", "blocks", *since]:
                top = int(since[0]) if since else max(self.blocks)
                return json.dumps(
                    [self.block(height) for height in range(top, top - self.page, -1) if height in self.blocks]
                ).encode()
            case ["api", "v1", "mining", "blocks", "timestamp", time]:
                height = max(height for height in self.blocks if self.block(height)["timestamp"] <= int(time))
                return json.dumps(
                    {"height": height, "hash": self.blocks[height][0], "timestamp": "2022-12-31T23:30:31.000Z"}
                ).encode()
            case ["api", "v1", "block", hash_, "summary"]:
                txids = next(txids for block_hash, txids in self.blocks.values() if block_hash == hash_)
                coinbase = {"txid": f"cb-{hash_}", "fee": 0, "vsize": 236, "value": 319_816_604, "rate": 0, "flags": 0, "time": 1}
                return json.dumps([coinbase, *map(self.summary, txids)]).encode()
            case ["api", "tx", txid] if txid.startswith("cb-"):
                return json.dumps(coinbase_of(txid)).encode()
            case ["api", "tx", txid]:
                whole = self.transactions[txid]
                hash_ = next((block_hash for block_hash, txids in self.blocks.values() if txid in txids), "")
                return json.dumps(whole | {"status": whole["status"] | {"block_hash": hash_}}).encode()
        raise AssertionError(path)

    def block(self, height: int) -> dict[str, Any]:
        hash_, txids = self.blocks[height]
        parent = self.blocks.get(height - 1, ("0",))[0]
        time = TIME + 600 * (height - TIP) - 1800 * (height in self.early)
        return {"id": hash_, "height": height, "timestamp": time, "tx_count": len(txids) + 1, "previousblockhash": parent}

    def summary(self, txid: str) -> dict[str, Any]:
        value = sum(output["value"] for output in self.transactions[txid]["vout"])
        return {"txid": txid, "fee": 10, "vsize": 140, "value": value, "rate": 1.5, "flags": 1, "time": 1}


def coinbase_of(txid: str) -> dict[str, Any]:
    """The coinbase transaction of a block, which pays the miner."""
    output = {"scriptpubkey": "51", "scriptpubkey_address": "bc1qminer", "value": 319_816_604}
    status = {"confirmed": True, "block_hash": txid.removeprefix("cb-")}
    return {"txid": txid, "vin": [{"prevout": None, "is_coinbase": True}], "vout": [output], "status": status}


TOO_MUCH = b'{"status":"0","message":"NOTOK","result":"Query Timeout occured. Please select a smaller result dataset"}'


class Etherscan:
    """Etherscan with the recorded transfers of MKR in their recorded blocks, and the transfers of ether that a test adds."""

    def __init__(self, real: Path) -> None:
        name = "get_erc20_token_transfer_events_by_contract_address_paginated"
        self.transfers: list[dict[str, str]] = json.loads((real / f"etherscan/{name}.json").read_text())["res"]
        self.block: dict[str, Any] = json.loads((real / "etherscan/get_proxy_block_by_number.json").read_text())["res"]
        self.tip = FIRST + 2
        self.hashes = {int(row["blockNumber"]): row["blockHash"] for row in self.transfers}
        self.ether: dict[int, list[dict[str, str]]] = {}  # height -> transactions
        self.reverted: set[str] = set()  # hashes of transactions
        self.full = 1000  # the number of rows of a full page
        self.most_blocks = 10_000  # of a range; a larger one takes too long

    def __call__(self, path: str) -> bytes:
        query = dict(parse_qsl(urlsplit(path).query))
        assert query.pop("chainid") == "1"
        match query:
            case {"module": "proxy", "action": "eth_blockNumber"}:
                return proxied(hex(self.tip))
            case {"module": "proxy", "action": "eth_getBlockByNumber", "tag": tag, "boolean": "true"}:
                return proxied(self.block_at(int(tag, 16)))
            case {"module": "proxy", "action": "eth_getTransactionReceipt", "txhash": hash_}:
                return proxied({"transactionHash": hash_, "status": "0x0" if hash_ in self.reverted else "0x1"})
            case {"module": "block", "action": "getblocknobytime", "timestamp": time, "closest": closest}:
                steps, over = divmod(int(time) - FIRST_TIME, 12)
                height = FIRST + steps + (over > 0 and closest == "after")
                return json.dumps({"status": "1", "message": "OK", "result": str(height)}).encode()
            case {"action": "tokentx", "startblock": first, "endblock": last} if int(last) - int(first) >= self.most_blocks:
                return TOO_MUCH
            case {"module": "account", "action": "tokentx", "startblock": first, "endblock": last, "offset": "1000", "page": "1"}:
                rows = [row for row in self.transfers if row["contractAddress"] == query["contractaddress"]]
                rows = [row for row in rows if int(first) <= int(row["blockNumber"]) <= int(last)][: self.full]
                found = {"status": "1", "message": "OK", "result": rows}
                return json.dumps(found if rows else {"status": "0", "message": "No transactions found", "result": []}).encode()
        raise AssertionError(path)

    def hash_of(self, height: int) -> str:
        return self.hashes.get(height, f"0x{height:064x}")

    def block_at(self, height: int) -> dict[str, Any]:
        return self.block | {
            "number": hex(height),
            "hash": self.hash_of(height),
            "parentHash": self.hash_of(height - 1),
            "timestamp": hex(FIRST_TIME + 12 * (height - FIRST)),
            "transactions": self.ether.get(height, []),
        }


def proxied(result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 83, "result": result}).encode()
