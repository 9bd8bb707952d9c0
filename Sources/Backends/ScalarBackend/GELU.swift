// GELU.swift - the activation of Gemma's gated layers. A file of its own, for the BLAS backend compiles it too.

// Embedded Swift has no Glibc module of its own; there tanhf comes with OpenBLAS's header.
#if canImport(Glibc)
    import Glibc
#else
    import OpenBLAS
#endif

/// GELU in its tanh form (Hendrycks and Gimpel 2016), which Gemma calls gelu_pytorch_tanh.
func geluTanh(_ z: Float) -> Float {
    0.5 * z * (1 + tanhf(0.797884561 * (z + 0.044715 * z * z * z)))
}
