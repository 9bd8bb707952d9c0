// Integer products of AVX-VNNI: AVX-512 VNNI's two instructions in eight lanes. Processors that have them and no AVX-512
// are Intel's for desktops and notebooks since Alder Lake.
import SIMDIntrinsics

/// sum + the products of two 16-bit numbers in each lane.
@inline(__always) func addPairs(_ a: IntVector, _ b: IntVector, to sum: IntVector) -> IntVector {
    cabochon_x86_add_word_products_256(sum, a, b)
}
/// sum + the products of four unsigned bytes by four signed ones in each lane.
@inline(__always) func addFours(_ codes: IntVector, _ values: IntVector, to sum: IntVector) -> IntVector {
    cabochon_x86_add_byte_products_in_order_256(sum, codes, values)
}
