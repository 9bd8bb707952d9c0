// Boundary.swift - the only place where C's pointers become Swift's values, and errors a status.
//
// Everything a caller hands over is checked here, before the engine sees it: handles, NULLs,
// lengths, UTF-8, the growth of option structs. `size_t` arrives as Int, so that a length beyond
// half the address space is negative; the checks below take that for what it is.

import CCabochon
import Cabochon
import CabochonShims
import Glibc

/// Where a function stores the error object that goes with its status; may be nil.
typealias ErrorOut = UnsafeMutablePointer<OpaquePointer?>?
/// Where a function stores a handle for its caller.
typealias HandleOut = UnsafeMutablePointer<OpaquePointer?>?

/// Runs the body of a fallible function and translates what it throws.
func boundary(_ error: ErrorOut, _ body: () throws(CabochonError) -> Void) -> cabochon_status {
    error?.pointee = nil
    do {
        try body()
        return CABOCHON_OK
    } catch let failure {
        error?.pointee = HandleTable.shared.insert(ErrorHandle(failure))
        return failure.code.rawValue
    }
}

/// As `boundary`, for functions that give out a handle: NULL unless they succeed.
func boundary(
    giving out: HandleOut, _ name: StaticString, _ error: ErrorOut,
    _ make: () throws(CabochonError) -> some HandleObject
) -> cabochon_status {
    out?.pointee = nil
    return boundary(error) { () throws(CabochonError) in
        guard let out else { throw missing(name) }
        out.pointee = try handle(of: try make())
    }
}

/// A handle for the caller, with one reference.
func handle(of object: some HandleObject) throws(CabochonError) -> OpaquePointer {
    guard let handle = HandleTable.shared.insert(object) else {
        throw CabochonError(.outOfMemory, "no room for another handle")
    }
    return handle
}

private func missing(_ name: StaticString) -> CabochonError {
    CabochonError(.invalidArgument, "\(name) is NULL")
}

// MARK: Handles

private func live<Object: HandleObject>(_ handle: OpaquePointer?, _ name: StaticString) throws(CabochonError) -> Object
{
    if let object = HandleTable.shared.object(handle, as: Object.self) { return object }
    throw CabochonError(
        .invalidHandle, handle == nil ? "the \(name) is NULL" : "the \(name) is freed, or a handle of another kind")
}

func engine(_ handle: OpaquePointer?) throws(CabochonError) -> EngineHandle { try live(handle, "engine") }
func model(_ handle: OpaquePointer?) throws(CabochonError) -> ModelHandle { try live(handle, "model") }
func session(_ handle: OpaquePointer?) throws(CabochonError) -> SessionHandle { try live(handle, "session") }
func generation(_ handle: OpaquePointer?) throws(CabochonError) -> GenerationHandle { try live(handle, "generation") }

/// An engine that this process may compute with.
func ownEngine(_ handle: OpaquePointer?) throws(CabochonError) -> EngineHandle {
    let object = try engine(handle)
    try object.checkProcess()
    return object
}

/// A model that this process may compute with.
func ownModel(_ handle: OpaquePointer?) throws(CabochonError) -> ModelHandle {
    let object = try model(handle)
    try object.engine.checkProcess()
    return object
}

/// Runs a call that needs a session to itself, and that this process may compute with.
func withSession<Result>(
    _ handle: OpaquePointer?, _ body: (Session) throws(CabochonError) -> Result
) throws(CabochonError) -> Result {
    let object = try session(handle)
    try object.engine.checkProcess()
    try object.begin()
    defer { object.end() }
    return try object.session.cancellation.during { () throws(CabochonError) in try body(object.session) }
}

// MARK: What comes in

/// More elements than this in one argument is a mistake of the caller's, and not read.
private let largestCount = Int(Int32.max)

/// `count` elements of the caller's, borrowed for the call.
func elements<Element>(
    _ pointer: UnsafePointer<Element>?, _ count: Int, _ name: StaticString, atMost limit: Int = largestCount
) throws(CabochonError) -> UnsafeBufferPointer<Element> {
    guard (0...limit).contains(count) else {
        throw CabochonError(.invalidArgument, "\(name): length \(UInt(bitPattern: count)), at most \(limit)")
    }
    guard count > 0 else { return UnsafeBufferPointer(start: nil, count: 0) }
    guard let pointer else { throw missing(name) }
    return UnsafeBufferPointer(start: pointer, count: count)
}

/// Text with a length, checked and never repaired, that stays where it is.
func checkedText(
    _ utf8: UnsafePointer<CChar>?, _ length: Int, _ name: StaticString
) throws(CabochonError) -> UnsafeRawBufferPointer {
    let bytes = UnsafeRawBufferPointer(try elements(utf8, length, name))
    if let offset = UTF8Sequence.firstInvalidOffset(in: bytes) {
        throw CabochonError(.invalidUTF8, "\(name) is not UTF-8 at byte \(offset) of \(bytes.count)")
    }
    return bytes
}

/// Such text in a string.
func text(_ utf8: UnsafePointer<CChar>?, _ length: Int, _ name: StaticString) throws(CabochonError) -> String {
    let bytes = try checkedText(utf8, length, name)
    // A string ends the process where it gets no memory: whether there is room for a long one is tried first.
    if bytes.count > 1 << 16 {
        guard let room = cabochon_shim_allocate(bytes.count) else {
            throw CabochonError(.outOfMemory, "\(name): no memory for \(bytes.count) bytes")
        }
        cabochon_shim_free(room)
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// A NUL-terminated path or name; nil for NULL.
func optionalName(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(CabochonError) -> String? {
    guard let pointer else { return nil }
    return try text(pointer, strlen(pointer), name)
}

/// A NUL-terminated path or name that must be there.
func name(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(CabochonError) -> String {
    guard let text = try optionalName(pointer, name) else { throw missing(name) }
    return text
}

/// A path that must be there.
func path(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(CabochonError) -> String {
    let path = try CabochonABI.name(pointer, name)
    // The system's words for it would name nothing.
    guard !path.isEmpty else { throw CabochonError(.io, "\(name) is empty") }
    return path
}

/// Whether each known bit of `flags` is set; an unknown one is an error.
func checkFlags(_ flags: UInt32, known: UInt32, _ name: StaticString) throws(CabochonError) {
    guard flags & ~known == 0 else {
        throw CabochonError(
            .unsupportedOption, "\(name) 0x\(String(flags, radix: 16)): bits beyond 0x\(String(known, radix: 16))")
    }
}

// MARK: What goes out

/// Fills the caller's buffer by the two-call rule. Its size is checked before `fill` computes, so that a buffer too small
/// costs nothing; a caller without one only learns how many elements are needed. `length` stays as it is where `fill`
/// throws.
func write<Element>(
    needed: Int, _ buffer: UnsafeMutablePointer<Element>?, _ length: UnsafeMutablePointer<Int>?,
    _ fill: (UnsafeMutableBufferPointer<Element>) throws(CabochonError) -> Void
) throws(CabochonError) {
    guard let length else { throw missing("inout_len") }
    let capacity = UInt(bitPattern: length.pointee)
    if let buffer {
        guard UInt(needed) <= capacity else {
            length.pointee = needed
            throw CabochonError(.bufferTooSmall, "a buffer for \(capacity) elements: \(needed) are needed")
        }
        try fill(UnsafeMutableBufferPointer(start: buffer, count: needed))
    }
    length.pointee = needed
}

/// Hands over text by the two-call rule.
func write(_ text: String, _ buffer: UnsafeMutablePointer<CChar>?, _ length: UnsafeMutablePointer<Int>?)
    throws(CabochonError)
{
    try write(needed: text.utf8.count, buffer, length) {
        UnsafeMutableRawBufferPointer($0).copyBytes(from: text.utf8)
    }
}
func write(
    _ text: UnsafeRawBufferPointer, _ buffer: UnsafeMutablePointer<CChar>?, _ length: UnsafeMutablePointer<Int>?
) throws(CabochonError) {
    try write(needed: text.count, buffer, length) { UnsafeMutableRawBufferPointer($0).copyMemory(from: text) }
}

/// Hands over token ids by the two-call rule.
func write(
    _ ids: some Collection<Int32>, _ buffer: UnsafeMutablePointer<Int32>?, _ length: UnsafeMutablePointer<Int>?
) throws(CabochonError) {
    try write(needed: ids.count, buffer, length) { _ = $0.update(fromContentsOf: ids) }
}

/// `rows * columns` floats, or an error where that is no size of memory.
func floatCount(_ rows: Int, _ columns: Int) throws(CabochonError) -> Int {
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard !overflow, count >= 0, count <= Int.max / MemoryLayout<Float>.stride else {
        throw CabochonError(.invalidArgument, "\(rows) rows of \(columns) floats")
    }
    return count
}
