// OpenFile.swift - a file that is read and written at offsets, not mapped; the one way to write files.
//
// Pages of a mapping count as the process's memory once they are touched, and a fault maps sixteen
// at a time. What is read once and scattered (a matrix that is turned around) is read through here.

import CabochonShims
import Glibc

/// A regular file's descriptor, closed with this object. Any thread.
package final class OpenFile: Sendable {
    /// For messages.
    let path: String
    let identity: cabochon_file_identity
    private let descriptor: Int32
    /// Of a new file: its place, and the name that it has until it is there; "" for none.
    private let target: String
    private let temporary: String

    /// Opens a file for reading.
    ///
    /// - Throws: `.io` with the system's words, `.outOfMemory`.
    init(path: String) throws(CabochonError) {
        self.path = path
        target = path
        temporary = ""
        var descriptor: Int32 = -1
        try Self.check(cabochon_shim_open_file(path, &descriptor), "cannot open \(path)")
        self.descriptor = descriptor
        do { identity = try Self.describe(descriptor, path) } catch {
            cabochon_shim_close(descriptor)
            throw error
        }
    }

    /// A new file that takes the place of what is at `path`, or of what a link there leads to, when it is
    /// published; nothing is to be seen of it before. Otherwise it goes with its last mapping.
    ///
    /// - Parameters:
    ///   - byteCount: zeros that it begins with, whose room on the disk is taken now.
    ///   - mode: who may use it, less what the process's umask takes away.
    /// - Throws: `.io`, also for a full disk, and where something is there that is not a regular file.
    package init(replacing path: String, byteCount: Int = 0, mode: UInt32 = 0o666) throws(CabochonError) {
        let target = try Self.place(of: path)
        var name = [CChar](repeating: 0, count: Int(PATH_MAX))
        var descriptor: Int32 = -1
        try Self.check(
            cabochon_shim_create_beside(target, mode, &descriptor, &name, name.count), "cannot write \(path)")
        self.path = path
        self.target = target
        temporary = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.descriptor = descriptor
        do {
            if byteCount > 0 {
                try Self.check(cabochon_shim_reserve(descriptor, byteCount), "no \(byteCount) bytes for \(path)")
            }
            identity = try Self.describe(descriptor, path)
        } catch {
            cabochon_shim_close(descriptor)
            if !temporary.isEmpty { unlink(temporary) }
            throw error
        }
    }

    deinit {
        cabochon_shim_close(descriptor)
        // Nothing has this name once the file was published.
        if !temporary.isEmpty { unlink(temporary) }
    }

    /// Whether the folder has this name, whatever becomes of opening it. A link to a file that was never fetched, or one
    /// that may not be followed, is not the absence of what may be left out.
    package static func isNamed(_ path: String) -> Bool {
        var information = stat()
        return lstat(path, &information) == 0 || (errno != ENOENT && errno != ENOTDIR)
    }

    /// Where a file with this name belongs: a link keeps leading to it. Renaming over a pipe or a device
    /// would take it away from those who use it.
    private static func place(of path: String) throws(CabochonError) -> String {
        var information = stat()
        // What else may be wrong with the path shows when the file is made.
        guard lstat(path, &information) == 0 else { return path }
        var place = path
        if information.st_mode & S_IFMT == S_IFLNK {
            guard let real = realpath(path, nil) else { throw failure(errno, "cannot write \(path)") }
            defer { free(real) }
            guard let name = String(validatingCString: real) else { throw failure(EILSEQ, "cannot write \(path)") }
            place = name
            try check(stat(place, &information) == 0 ? 0 : errno, "cannot write \(path)")
        }
        let isFolder = information.st_mode & S_IFMT == S_IFDIR
        guard information.st_mode & S_IFMT == S_IFREG else {
            throw failure(isFolder ? EISDIR : EINVAL, "cannot write \(path)")
        }
        return place
    }

    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(CabochonError) {
        guard let base = bytes.baseAddress else { return }
        try Self.check(
            cabochon_shim_read_at(descriptor, base, bytes.count, UInt64(offset)),
            "cannot read \(bytes.count) bytes at \(offset) of \(path)")
    }

    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(CabochonError) {
        guard let base = bytes.baseAddress else { return }
        try Self.check(
            cabochon_shim_write_at(descriptor, base, bytes.count, UInt64(offset)),
            "cannot write \(bytes.count) bytes at \(offset) of \(path)")
    }

    /// Lets the system read a range ahead, in the order in which it lies on the disk.
    func willRead(_ range: Range<Int>) {
        cabochon_shim_will_read(descriptor, UInt64(range.lowerBound), UInt64(range.count))
    }

    /// Gives a new file its place, once it is on the disk. What had it goes on for those who have it open.
    package func publish() throws(CabochonError) {
        try Self.check(cabochon_shim_publish(descriptor, temporary, target), "cannot write \(path)")
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
        guard status == 0 else { throw failure(status, what()) }
    }

    private static func failure(_ status: Int32, _ what: String) -> CabochonError {
        let words = strerror(status).map { String(cString: $0) } ?? "error \(status)"
        return CabochonError(
            status == ENOMEM ? .outOfMemory : .io, "\(what): \(status == EINVAL ? "not a regular file" : words)")
    }
}
