// MappedFile.swift - a file's bytes, as memory.
//
// Weights are read straight out of the page cache: no copy at load, shared between processes, and
// given back by the kernel under pressure. A class, because everything parsed out of the file
// points into it and must keep it alive.

import CabochonShims

/// A file mapped read-only for as long as this object lives.
///
/// The bytes may be read from any thread. A file that another process shortens while it is mapped
/// raises SIGBUS on access, as for every mapped file: replace model files by renaming, or ask for a
/// copy, which nobody else can change.
public final class MappedFile: @unchecked Sendable {
    /// The path as it was given.
    public let path: String
    /// The whole file. Empty, with no base address, for an empty file. Valid while this object lives;
    /// see `withBytes`.
    public let bytes: UnsafeRawBufferPointer
    /// What is mapped, or else what holds the copy.
    private let source: OpenFile?
    private let copy: Buffer<UInt8>?

    /// Maps the regular file at `path`.
    ///
    /// - Parameter copies: whether to read it into memory of the process's own instead.
    /// - Throws: `.io` with the path and the system's words, `.outOfMemory`.
    public convenience init(path: String, copies: Bool = false) throws(CabochonError) {
        guard !path.utf8.contains(0) else {
            throw CabochonError(.invalidArgument, "a path may not contain a zero byte")
        }
        let file = try OpenFile(path: path)
        if copies { try self.init(copyOf: file) } else { try self.init(file) }
    }

    /// Maps an open file, which stays open with this object.
    init(_ file: OpenFile) throws(CabochonError) {
        path = file.path
        source = file
        copy = nil
        bytes = try file.mapBytes()
    }

    private init(copyOf file: OpenFile) throws(CabochonError) {
        let copy = try Buffer<UInt8>(count: Int(file.identity.size), for: file.path)
        try file.read(into: UnsafeMutableRawBufferPointer(copy.elements), at: 0)
        path = file.path
        source = nil
        self.copy = copy
        bytes = UnsafeRawBufferPointer(copy.elements)
    }

    deinit {
        if source != nil { cabochon_shim_unmap_file(bytes.baseAddress, bytes.count) }
    }

    /// Copies a part of the file without its pages counting as this process's memory: for little that is
    /// read from far apart.
    ///
    /// - Parameter offset: where it starts; all of `target` lies in the file.
    /// - Throws: `.io`, also where the file has become shorter since.
    func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(CabochonError) {
        guard let source else {
            return target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + target.count]))
        }
        try source.read(into: target, at: offset)
    }

    /// Hands the bytes to `body` and keeps the mapping until it returns. Reading `bytes` of a file that
    /// nothing else holds is not enough: the last use of the object ends its life, and the mapping.
    func withBytes<Result>(
        _ body: (UnsafeRawBufferPointer) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(bytes)
    }

    /// Tells the kernel that a part of the file will not be read soon, so that its pages stop
    /// counting as resident. The bytes stay readable. The range is cut to the file. A copy keeps all.
    public func forgetPages(_ range: Range<Int>) {
        let range = range.clamped(to: 0..<bytes.count)
        guard source != nil, let base = bytes.baseAddress, !range.isEmpty else { return }
        cabochon_shim_forget_pages(base + range.lowerBound, range.count)
    }

    /// A fault maps sixteen pages, or as much of the file as the kernel has cached in one piece, at most two
    /// megabytes: those before and behind the pages that are touched come with them.
    private static let mappedByteCount = 2 << 20

    /// Forgets the pages of some rows, and those around them that came with them.
    ///
    /// - Parameters:
    ///   - rowByteCount: of one row.
    ///   - section: the bytes of all rows; none outside are forgotten.
    func forgetRows(_ rows: Range<Int>, of rowByteCount: Int, in section: Range<Int>) {
        let first = section.lowerBound + rows.lowerBound * rowByteCount - Self.mappedByteCount
        let end = section.lowerBound + rows.upperBound * rowByteCount + Self.mappedByteCount
        forgetPages((first..<end).clamped(to: section))
    }
}
