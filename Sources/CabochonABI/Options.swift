// Options.swift - how structs with a struct_size cross versions.
//
// A caller built with an older header hands over a shorter struct, one built with a newer header a
// longer one. The shorter is completed with zeros, which mean "default"; the longer is accepted if
// what this library does not know is zero, so that no wish goes unheard.

import CCabochon
import Cabochon

/// A struct of cabochon.h that begins with `struct_size`.
protocol SizedStruct {
    init()
    var struct_size: Int { get set }
    /// Its size in the version that it came with. No caller's is smaller, however it has grown since.
    static var firstSize: Int { get }
}

extension cabochon_engine_options: SizedStruct { static let firstSize = 48 }
extension cabochon_model_options: SizedStruct { static let firstSize = 32 }
extension cabochon_session_options: SizedStruct { static let firstSize = 16 }
extension cabochon_generation_options: SizedStruct { static let firstSize = 120 }
extension cabochon_generation_summary: SizedStruct { static let firstSize = 64 }

/// No version's struct is longer; more is an uninitialised struct_size.
private let largestStruct = 1 << 12

/// The bytes that a struct_size may announce.
private func checkSize<Struct: SizedStruct>(_ size: Int, of type: Struct.Type, _ name: StaticString)
    throws(CabochonError)
{
    guard size >= Struct.firstSize, size <= largestStruct else {
        throw CabochonError(
            .invalidArgument,
            "\(name).struct_size is \(UInt(bitPattern: size)), the first such struct had \(Struct.firstSize) bytes: "
                + "was it initialised?")
    }
}

/// The caller's options as this version knows them; all defaults for nil.
func options<Struct: SizedStruct>(_ pointer: UnsafePointer<Struct>?, _ name: StaticString) throws(CabochonError)
    -> Struct
{
    guard let pointer else { return Struct() }
    let size = structSize(pointer)
    try checkSize(size, of: Struct.self, name)
    let known = min(size, MemoryLayout<Struct>.size)
    let bytes = UnsafeRawBufferPointer(start: pointer, count: size)
    guard bytes[known...].allSatisfy({ $0 == 0 }) else {
        throw CabochonError(.unsupportedOption, "\(name) sets an option that version \(versionText) does not know")
    }
    var given = Struct()
    withUnsafeMutableBytes(of: &given) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<known])) }
    return given
}

/// Fills a caller's struct, as far as it reaches.
func fill<Struct: SizedStruct>(
    _ pointer: UnsafeMutablePointer<Struct>?, with values: Struct, _ name: StaticString
) throws(CabochonError) {
    guard let pointer else { throw CabochonError(.invalidArgument, "\(name) is NULL") }
    let size = structSize(pointer)
    try checkSize(size, of: Struct.self, name)
    var values = values
    values.struct_size = size
    withUnsafeBytes(of: &values) {
        UnsafeMutableRawPointer(pointer).copyMemory(
            from: $0.baseAddress.unsafelyUnwrapped, byteCount: min(size, $0.count))
    }
}

/// What a caller's struct says of its size, read without the rest, which may not be there.
private func structSize<Struct: SizedStruct>(_ pointer: UnsafePointer<Struct>) -> Int {
    UnsafeRawPointer(pointer).load(as: Int.self)
}

/// Writes struct_size and zeroes the rest, of however long a struct the caller knows.
func initialise<Struct: SizedStruct>(_ pointer: UnsafeMutablePointer<Struct>?, _ size: Int) {
    guard let pointer, (MemoryLayout<Int>.size...largestStruct).contains(size) else { return }
    let bytes = UnsafeMutableRawBufferPointer(start: pointer, count: size)
    for index in bytes.indices { bytes[index] = 0 }
    bytes.storeBytes(of: size, as: Int.self)
}
