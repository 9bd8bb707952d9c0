// What kernels have to know of the processor beyond its instruction set.
import SIMDIntrinsics

enum Processor {
    /// AMD's family, 0 of other makers: 25 is Zen 4 where it has AVX-512, 26 is Zen 5. Set before the first op, and
    /// always alike.
    @inline(__always) static var amdFamily: UInt32 { family }

    private nonisolated(unsafe) static var family: UInt32 = 0

    static func identify() { family = cabochon_simd_amd_family() }
}
