// ZipArchive.swift - the members of a zip archive in a mapped file.
//
// Format: APPNOTE.TXT 6.3.10 of PKWARE, the parts that numpy writes: stored and deflated members,
// zip64. Sizes and places come from the central directory at the end; of a member's local header
// its own length counts, because a stored member's bytes begin behind it, and its name: a damaged
// directory must not give one member's bytes for another's.

struct ZipArchive: Sendable {
    struct Member: Sendable {
        enum Method: Sendable { case stored, deflated }
        let name: String
        let method: Method
        /// Bytes in the archive, and the member's own.
        let compressedSize, size: Int
        let checksum: UInt32
        let headerOffset: Int
    }

    let file: MappedFile
    /// In the central directory's order.
    let members: [Member]

    /// - Throws: `.io`, `.invalidFile` for what is no zip archive, `.unsupported` for encrypted or
    ///   otherwise compressed members.
    init(path: String) throws(CabochonError) {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        let directory = try Self.findDirectory(file)
        var reader = ByteReader(
            UnsafeRawBufferPointer(rebasing: file.bytes[directory.start..<directory.start + directory.size]),
            name: "\(path), central directory")
        var members: [Member] = []
        var names: Set<String> = []
        // The count in the archive's end is not needed: entries follow each other to the directory's end.
        while reader.remaining > 0 {
            let member = try Self.readMember(&reader, archiveSize: file.bytes.count)
            guard names.insert(member.name).inserted else {
                throw reader.invalid("member '\(member.name)' appears twice")
            }
            members.append(member)
        }
        self.file = file
        self.members = members
    }

    /// A member's bytes as the archive holds them.
    func storedBytes(of member: Member) throws(CabochonError) -> UnsafeRawBufferPointer {
        let name = "\(file.path), member '\(member.name)'"
        guard (0...file.bytes.count).contains(member.headerOffset) else {
            throw CabochonError(
                .invalidFile, "\(name): begins at \(member.headerOffset), past the file's \(file.bytes.count) bytes")
        }
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: file.bytes[member.headerOffset...]), name: name)
        guard try reader.read(UInt32.self, "the local header") == 0x0403_4b50 else {
            throw reader.invalid("no local header at \(member.headerOffset)", at: 0)
        }
        _ = try reader.take(22, "the local header")
        let nameLength = try reader.read(UInt16.self, "the length of the name")
        let extraLength = try reader.read(UInt16.self, "the length of the extra field")
        guard try reader.take(Int(nameLength), "the name").elementsEqual(member.name.utf8) else {
            throw reader.invalid("the local header at \(member.headerOffset) has another name", at: 0)
        }
        _ = try reader.take(Int(extraLength), "the extra field")
        return try reader.take(member.compressedSize, "the data")
    }

    private static func findDirectory(_ file: MappedFile) throws(CabochonError) -> (start: Int, size: Int) {
        let bytes = file.bytes
        let path = file.path
        // The end record has 22 bytes and a comment of at most 65,535.
        var place = bytes.count - 22
        let lowest = max(0, bytes.count - 22 - 65_535)
        while place >= lowest,
            bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self) != UInt32(littleEndian: 0x0605_4b50)
        {
            place -= 1
        }
        guard place >= lowest else {
            throw CabochonError(.invalidFile, "\(path): no zip archive (its end record is missing)")
        }
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[place...]), name: "\(path), end record")
        _ = try reader.take(12, "the end record")
        var size = UInt64(try reader.read(UInt32.self, "the directory's size"))
        var start = UInt64(try reader.read(UInt32.self, "the directory's place"))
        if place >= 20,
            bytes.loadUnaligned(fromByteOffset: place - 20, as: UInt32.self) == UInt32(littleEndian: 0x0706_4b50)
        {
            var locator = ByteReader(
                UnsafeRawBufferPointer(rebasing: bytes[(place - 20)..<place]), name: "\(path), zip64 locator")
            _ = try locator.take(8, "the locator")
            let record = try locator.read(UInt64.self, "the zip64 record's place")
            guard record <= UInt64(bytes.count) else {
                throw locator.invalid("the zip64 end record is at \(record), past the file's \(bytes.count) bytes")
            }
            var end = ByteReader(
                UnsafeRawBufferPointer(rebasing: bytes[Int(record)...]), name: "\(path), zip64 end record")
            guard try end.read(UInt32.self, "the record") == 0x0606_4b50 else {
                throw end.invalid("no zip64 end record", at: 0)
            }
            _ = try end.take(36, "the record")
            size = try end.read(UInt64.self, "the directory's size")
            start = try end.read(UInt64.self, "the directory's place")
        }
        guard start <= UInt64(bytes.count), size <= UInt64(bytes.count) - start else {
            throw CabochonError(
                .invalidFile, "\(path): a directory of \(size) bytes at offset \(start), past the file's \(bytes.count)"
            )
        }
        return (Int(start), Int(size))
    }

    private static func readMember(_ reader: inout ByteReader, archiveSize: Int) throws(CabochonError) -> Member {
        let start = reader.offset
        guard try reader.read(UInt32.self, "an entry") == 0x0201_4b50 else {
            throw reader.invalid("no directory entry", at: start)
        }
        _ = try reader.take(4, "versions")
        let flags = try reader.read(UInt16.self, "flags")
        let method = try reader.read(UInt16.self, "the method")
        _ = try reader.take(4, "the time")
        let checksum = try reader.read(UInt32.self, "the checksum")
        var compressedSize = UInt64(try reader.read(UInt32.self, "the compressed size"))
        var size = UInt64(try reader.read(UInt32.self, "the size"))
        let nameLength = try reader.read(UInt16.self, "the length of the name")
        let extraLength = try reader.read(UInt16.self, "the length of the extra field")
        let commentLength = try reader.read(UInt16.self, "the length of the comment")
        _ = try reader.take(8, "attributes")
        var offset = UInt64(try reader.read(UInt32.self, "the member's place"))
        let nameBytes = try reader.take(Int(nameLength), "the name")
        guard let name = String(validating: nameBytes, as: UTF8.self) else {
            throw reader.invalid("a member's name is not UTF-8", at: start)
        }
        var extra = ByteReader(try reader.take(Int(extraLength), "the extra field"), name: "\(reader.name), '\(name)'")
        while extra.remaining >= 4 {
            let kind = try extra.read(UInt16.self, "an extra field")
            let length = try extra.read(UInt16.self, "an extra field's length")
            var field = ByteReader(try extra.take(Int(length), "an extra field"), name: extra.name)
            guard kind == 1 else { continue }
            // Zip64: a number is here if it did not fit above, in this order.
            if size == 0xffff_ffff { size = try field.read(UInt64.self, "the size") }
            if compressedSize == 0xffff_ffff { compressedSize = try field.read(UInt64.self, "the compressed size") }
            if offset == 0xffff_ffff { offset = try field.read(UInt64.self, "the member's place") }
        }
        _ = try reader.take(Int(commentLength), "the comment")
        guard flags & 1 == 0 else { throw CabochonError(.unsupported, "\(reader.name): member '\(name)' is encrypted") }
        guard method == 0 || method == 8 else {
            throw CabochonError(
                .unsupported,
                "\(reader.name): member '\(name)' has compression method \(method); stored and deflated can be read")
        }
        let archive = UInt64(archiveSize)
        // Deflate makes at most 1,032 bytes of one.
        let isPlausible = method == 0 ? size == compressedSize : size / 1032 <= compressedSize
        guard offset <= archive, compressedSize <= archive, isPlausible else {
            throw reader.invalid(
                "member '\(name)' says \(compressedSize) bytes at \(offset) hold \(size), in an archive of \(archiveSize)",
                at: start)
        }
        return Member(
            name: name, method: method == 0 ? .stored : .deflated, compressedSize: Int(compressedSize), size: Int(size),
            checksum: checksum, headerOffset: Int(offset))
    }
}
