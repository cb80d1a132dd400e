"""Functions for a sandbox: one that ends and one that does not."""


def forever() -> None:
    while True:
        pass


def quick(value: int) -> int:
    return value
