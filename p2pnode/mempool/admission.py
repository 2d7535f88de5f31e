"""What keeps a transaction out of the pool: one class a rule, with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from p2pnode.errors import RejectedTransaction
from p2pnode.types.genesis import Parameters
from p2pnode.types.transaction import SIZE_BYTES_MAX, Transaction


class WrongChain(RejectedTransaction):
    """The transaction is meant for another chain."""

    def __init__(self, chain: bytes, expected: bytes) -> None:
        super().__init__(f"meant for chain {chain.hex()[:16]}…, this one is {expected.hex()[:16]}…")
        self.chain = chain
        self.expected = expected


class TransactionTooLarge(RejectedTransaction):
    """The envelope is longer than a batch of this chain can hold."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"transaction of {size_bytes} bytes, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class Expired(RejectedTransaction):
    """No later block can execute it."""

    def __init__(self, last_valid_height: int, height: int) -> None:
        super().__init__(
            f"valid up to height {last_valid_height}, the chain is at height {height} already"
        )
        self.last_valid_height = last_valid_height
        self.height = height


class ValidTooLong(RejectedTransaction):
    """Its expiry lies further ahead than the chain allows."""

    def __init__(self, last_valid_height: int, last_valid_height_max: int) -> None:
        super().__init__(
            f"valid up to height {last_valid_height}, at most {last_valid_height_max} allowed now"
        )
        self.last_valid_height = last_valid_height
        self.last_valid_height_max = last_valid_height_max


class NonceTooLow(RejectedTransaction):
    """The account has used this nonce."""

    def __init__(self, has: int, needs: int) -> None:
        super().__init__(f"nonce {has} is used, the account's next is {needs}")
        self.has = has
        """The transaction's nonce."""
        self.needs = needs
        """The account's next nonce."""


class NonceTooFar(RejectedTransaction):
    """The nonce lies further ahead of the account's next one than the pool keeps."""

    def __init__(self, has: int, needs: int, ahead_max: int) -> None:
        super().__init__(
            f"nonce {has} is {has - needs} ahead of the account's next, {needs}; "
            f"at most {ahead_max} ahead are kept"
        )
        self.has = has
        self.needs = needs
        self.ahead_max = ahead_max


class InsufficientBalance(RejectedTransaction):
    """The account can't pay the fee limit."""

    def __init__(self, has: int, needs: int) -> None:
        super().__init__(f"balance {has} of asset 0, the fee limit needs {needs}")
        self.has = has
        self.needs = needs


class FeeTooLow(RejectedTransaction):
    """The fee limit is below the fee."""

    def __init__(self, fee_limit: int, fee: int) -> None:
        super().__init__(f"fee limit {fee_limit}, the fee is {fee}")
        self.fee_limit = fee_limit
        self.fee = fee


class DuplicateTransaction(RejectedTransaction):
    """The same transaction is here already."""

    def __init__(self, transaction_id: bytes) -> None:
        super().__init__(f"transaction {transaction_id.hex()[:16]}… is here already")
        self.transaction_id = transaction_id


class NonceTaken(RejectedTransaction):
    """Another transaction of the sender holds the nonce; it can't be replaced."""

    def __init__(self, nonce: int, holder_id: bytes) -> None:
        super().__init__(f"nonce {nonce} is held by transaction {holder_id.hex()[:16]}…")
        self.nonce = nonce
        self.holder_id = holder_id


class PoolFull(RejectedTransaction):
    """The pool holds as many transactions as it may."""

    def __init__(self, transactions_count: int, transactions_max: int) -> None:
        super().__init__(
            f"the pool holds {transactions_count} transactions, at most {transactions_max} allowed"
        )
        self.transactions_count = transactions_count
        self.transactions_max = transactions_max


class PoolBytesFull(RejectedTransaction):
    """The pool has no room for this many bytes."""

    def __init__(self, held_bytes: int, size_bytes: int, bytes_max: int) -> None:
        super().__init__(
            f"the pool holds {held_bytes} of {bytes_max} bytes, no room for {size_bytes} more"
        )
        self.held_bytes = held_bytes
        self.size_bytes = size_bytes
        self.bytes_max = bytes_max


class BadSignature(RejectedTransaction):
    """The sender's key did not make this signature, or is of small order."""

    def __init__(self, transaction_id: bytes) -> None:
        super().__init__(f"the signature of transaction {transaction_id.hex()[:16]}… is not valid")
        self.transaction_id = transaction_id


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that need no pool: one chain's numbers."""

    chain: bytes
    """Chain id, 32 bytes."""
    fee_base: int
    """Fee of a transaction, in asset 0."""
    fee_action: int
    """Fee of each action, in asset 0."""
    validity_heights_max: int
    """A transaction may not be valid for longer than this many heights ahead."""
    size_bytes_max: int = SIZE_BYTES_MAX
    """Largest envelope."""
    nonces_ahead_max: int = 64
    """Future nonces kept a sender, not counting the next one."""

    @classmethod
    def of(cls, chain: bytes, parameters: Parameters) -> Rules:
        """Return the rules of a chain."""
        return cls(
            chain=chain,
            fee_base=parameters.fee_base,
            fee_action=parameters.fee_action,
            validity_heights_max=parameters.validity_heights_max,
            # One that fits no batch would stay at the head of the pool for ever: 6 bytes are the
            # heads of the array and of its only byte string.
            size_bytes_max=min(SIZE_BYTES_MAX, parameters.batch_bytes_max - 6),
        )

    def check(self, transaction: Transaction, nonce: int, balance: int, height: int) -> None:
        """Refuse what no pool may hold; the signature is not checked here.

        Args:
            transaction: Decoded strictly.
            nonce: The account's next nonce.
            balance: The account's balance of asset 0.
            height: Last executed height.

        Raises:
            RejectedTransaction: One of this module's classes, by the first rule broken.
        """
        if transaction.chain != self.chain:
            raise WrongChain(transaction.chain, self.chain)
        if len(transaction.raw) > self.size_bytes_max:
            raise TransactionTooLarge(len(transaction.raw), self.size_bytes_max)
        if transaction.last_valid_height <= height:
            raise Expired(transaction.last_valid_height, height)
        if transaction.last_valid_height > height + self.validity_heights_max:
            raise ValidTooLong(transaction.last_valid_height, height + self.validity_heights_max)
        if transaction.nonce < nonce:
            raise NonceTooLow(transaction.nonce, nonce)
        if transaction.nonce > nonce + self.nonces_ahead_max:
            raise NonceTooFar(transaction.nonce, nonce, self.nonces_ahead_max)
        fee = self.fee_base + self.fee_action * len(transaction.actions)
        if transaction.fee_limit < fee:
            raise FeeTooLow(transaction.fee_limit, fee)
        if balance < transaction.fee_limit:
            raise InsufficientBalance(balance, transaction.fee_limit)
