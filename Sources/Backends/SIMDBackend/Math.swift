// exp, tanh and GELU on vectors.
//
// e^x splits x as n ln 2 + r with |r| <= ln 2 / 2. float32's ln 2 is one piece, and the difference exact: a fused
// multiplication leaves a multiple of 2^-25 below 1/2. That ln 2 is 2.7e-9 of itself too large, which moves x by a
// tenth of what x's own rounding does. e^r - 1 = r + r^2 S(r), S the polynomial of degree 4 whose greatest
// error, 2^-26 of e^r - 1, is least.
//
// Keeping e^r - 1 rather than e^r is what makes tanh good to its last bits near 0: with p = 2^n and q = e^r - 1
// made from -2|x|, tanh |x| = (1 - p - pq) / (1 + p + pq), each side rounded once where it counts. Over all arguments
// from 1e-6 on it is 0.35 ulp off in the mean and 1.95 at most.
//
// What is not a number stays so through the clamps: minimum and maximum give it where it is their second argument.

/// n and e^r - 1.
@inline(__always)
private func reduced(_ x: FloatVector) -> (exponent: IntVector, part: FloatVector) {
    let exponent = ints(multiply(x, broadcast(Float(1.442_695_04))))
    let rest = subtractProduct(floats(exponent), broadcast(Float(0.693_147_18)), from: x)
    var series = broadcast(Float(1.388_251_5e-3))
    series = multiplyAdd(series, rest, broadcast(Float(8.366_596e-3)))
    series = multiplyAdd(series, rest, broadcast(Float(4.166_72e-2)))
    series = multiplyAdd(series, rest, broadcast(Float(0.166_665_43)))
    series = multiplyAdd(series, rest, broadcast(Float(0.499_999_97)))
    return (exponent, multiplyAdd(multiply(series, rest), rest, rest))
}

/// value * 2^exponent, where both are normal numbers.
@inline(__always)
private func addExponent(_ value: FloatVector, _ exponent: IntVector) -> FloatVector {
    addToBits(value, shiftLanesLeft(exponent, 23))
}

/// e^x for |x| <= 87.
@inline(__always)
private func boundedExponential(_ x: FloatVector) -> FloatVector {
    let (exponent, part) = reduced(x)
    return addExponent(add(part, broadcast(Float(1))), exponent)
}

/// e^x for x <= 0, exactly 1 at 0 and exactly 0 below -87.
@inline(__always)
func exponential(_ x: FloatVector) -> FloatVector {
    let value = boundedExponential(maximum(broadcast(Float(-87)), x))
    return select(x, below: broadcast(Float(-87)), broadcast(Float(0)), else: value)
}

/// tanh x; |x| >= 9.02 gives 1 in float32, so 10 bounds the exponent.
@inline(__always)
func hyperbolicTangent(_ x: FloatVector) -> FloatVector {
    let (exponent, part) = reduced(multiply(minimum(broadcast(Float(10)), magnitude(x)), broadcast(Float(-2))))
    let one = broadcast(Float(1))
    let power = addExponent(one, exponent)
    let difference = subtractProduct(part, power, from: subtract(one, power))
    let sum = multiplyAdd(part, power, add(one, power))
    return copySign(divide(difference, sum), of: x)
}

/// z/2 * (1 + tanh u), u = sqrt(2/pi) * (z + 0.044715 z^3), which is z / (1 + e^(-2u)): nothing cancels where z is
/// negative. Exactly zero where e^(-2u) has no float32, as z times 0.
@inline(__always)
func gelu(_ z: FloatVector) -> FloatVector {
    let cube = multiply(multiply(z, z), z)
    let inner = multiplyAdd(cube, broadcast(Float(0.044715)), z)
    let exponent = multiply(inner, broadcast(Float(-2 * 0.797_884_56)))
    let most = broadcast(Float(87))
    let bounded = maximum(broadcast(Float(-87)), minimum(most, exponent))
    let quotient = divide(z, add(boundedExponential(bounded), broadcast(Float(1))))
    return select(most, below: exponent, multiply(z, broadcast(Float(0))), else: quotient)
}
