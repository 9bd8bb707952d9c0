// The part of a transposition that every instruction set makes alike: inside quarters of four elements.

typealias FourVectors = (FloatVector, FloatVector, FloatVector, FloatVector)

/// In each four elements: elements 0 of all four vectors, elements 1, 2 and 3.
@inline(__always)
func transposeQuarters(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector, _ d: FloatVector) -> FourVectors {
    let lowAB = lowPairs(a, b)
    let lowCD = lowPairs(c, d)
    let highAB = highPairs(a, b)
    let highCD = highPairs(c, d)
    return (
        evenElements(lowAB, lowCD), oddElements(lowAB, lowCD), evenElements(highAB, highCD), oddElements(highAB, highCD)
    )
}
