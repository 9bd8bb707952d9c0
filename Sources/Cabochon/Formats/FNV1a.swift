// FNV1a.swift - a small hash: of paths and checkpoints for their names, of files against damage.

/// FNV-1a, 64 bits: finds damage, not forgery.
struct FNV1a {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
}
