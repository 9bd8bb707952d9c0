// OpenFile.swift - a file that is read and written at offsets, not mapped.
//
// Pages of a mapping count as the process's memory once they are touched, and a fault maps sixteen
// at a time. What is read once and scattered (a matrix that is turned around) is read through here.

import CabochonShims
import Glibc

/// A regular file's descriptor, closed with this object. Any thread.
final class OpenFile: Sendable {
    /// For messages.
    let path: String
    let identity: cabochon_file_identity
    private let descriptor: Int32

    /// Opens a file for reading.
    ///
    /// - Throws: `.io` with the system's words.
    init(path: String) throws(CabochonError) {
        self.path = path
        var descriptor: Int32 = -1
        try Self.check(cabochon_shim_open_file(path, &descriptor), "cannot open \(path)")
        self.descriptor = descriptor
        do { identity = try Self.describe(descriptor, path) } catch {
            cabochon_shim_close(descriptor)
            throw error
        }
    }

    /// A new file of zeros, which has no name and goes with its last mapping unless it is published.
    ///
    /// - Throws: `.io`, also for a full disk.
    init(unnamedIn folder: String, byteCount: Int) throws(CabochonError) {
        path = "a new file in \(folder)"
        var descriptor: Int32 = -1
        try Self.check(
            cabochon_shim_create_unnamed(folder, byteCount, &descriptor),
            "no \(byteCount) bytes for a file in \(folder)")
        self.descriptor = descriptor
        do { identity = try Self.describe(descriptor, path) } catch {
            cabochon_shim_close(descriptor)
            throw error
        }
    }

    deinit { cabochon_shim_close(descriptor) }

    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(CabochonError) {
        guard let base = bytes.baseAddress else { return }
        try Self.check(
            cabochon_shim_read_at(descriptor, base, bytes.count, UInt64(offset)),
            "cannot read \(bytes.count) bytes at \(offset) of \(path)")
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(CabochonError) {
        guard let base = bytes.baseAddress else { return }
        try Self.check(
            cabochon_shim_write_at(descriptor, base, bytes.count, UInt64(offset)),
            "cannot write \(bytes.count) bytes at \(offset) of \(path)")
    }

    /// Lets the system read a range ahead, in the order in which it lies on the disk.
    func willRead(_ range: Range<Int>) {
        cabochon_shim_will_read(descriptor, UInt64(range.lowerBound), UInt64(range.count))
    }

    /// Names an unnamed file, once it is on the disk. What has the name goes on for those who have it open.
    func publish(as name: String) throws(CabochonError) {
        try Self.check(cabochon_shim_publish(descriptor, name), "cannot create \(name)")
    }

    /// The file's bytes as memory that outlives this object, undone by cabochon_shim_unmap_file. For MappedFile.
    func mapBytes() throws(CabochonError) -> UnsafeRawBufferPointer {
        var data: UnsafeRawPointer?
        let size = Int(identity.size)
        if size > 0 { try Self.check(cabochon_shim_map_descriptor(descriptor, size, &data), "cannot map \(path)") }
        return UnsafeRawBufferPointer(start: data, count: size)
    }

    private static func describe(_ descriptor: Int32, _ path: String) throws(CabochonError) -> cabochon_file_identity {
        var identity = cabochon_file_identity()
        try check(cabochon_shim_describe(descriptor, &identity), "cannot open \(path)")
        return identity
    }

    private static func check(_ status: Int32, _ what: @autoclosure () -> String) throws(CabochonError) {
        guard status != 0 else { return }
        let words = strerror(status).map { String(cString: $0) } ?? "error \(status)"
        throw CabochonError(.io, "\(what()): \(status == EINVAL ? "not a regular file" : words)")
    }
}
