// PairMerger.swift - byte-pair encoding by score over a stretch of text.
//
// Again and again the adjacent pair whose concatenation is the piece with the highest score is
// merged, the leftmost of equals, until no pair makes a piece. Symbols form a list inside arrays
// indexed by byte offset: where one ends, the next begins. Candidates wait in a heap, and those that
// a merge has overtaken are recognised when they come up, so a stretch of n bytes takes
// O(n log n) whatever its content.

struct PairMerger: ~Copyable {
    private let vocabulary: Vocabulary
    private let index: PieceIndex
    private let text: UnsafeRawBufferPointer
    // The three below are indexed by offset in the stretch, and are kept between stretches.
    /// Bytes of the symbol that starts here; 0 where none starts.
    private var lengths = CheckedArray<Int32>()
    /// Where the symbol starts whose last byte is here.
    private var starts = CheckedArray<Int32>()
    /// The id of the symbol that starts here, -1 if it is no piece.
    private var symbolIDs = CheckedArray<Int32>()
    private var heap = MergeHeap()
    /// The left length of the latest way seen to make each unused piece.
    private var unusedSplits: [Int32: Int] = [:]
    /// Whether the last id given out is the unknown piece, which takes in what follows.
    private var endsInUnknown = false

    /// - Parameter text: valid UTF-8 in which spaces are not escaped; must outlive the merger.
    init(vocabulary: Vocabulary, text: UnsafeRawBufferPointer) {
        self.vocabulary = vocabulary
        self.index = vocabulary.index
        self.text = text
    }

    /// Appends an id that was not made by merging.
    mutating func append(_ id: Int32, to ids: inout CheckedArray<Int32>) throws(CabochonError) {
        try ids.append(id, "token ids")
        endsInUnknown = false
    }

    /// Appends the ids of the text in `range`: whole characters that no merge links to those around.
    ///
    /// - Throws: `.outOfMemory`.
    mutating func appendIDs(of range: Range<Int>, to ids: inout CheckedArray<Int32>) throws(CabochonError) {
        if range.isEmpty { return }
        let stretch = UnsafeRawBufferPointer(rebasing: text[range])
        if stretch.count > lengths.count {
            let size = max(stretch.count, 64)
            lengths = try CheckedArray(zeroed: size, "text of \(size) bytes")
            starts = try CheckedArray(zeroed: size, "text of \(size) bytes")
            symbolIDs = try CheckedArray(zeroed: size, "text of \(size) bytes")
        }
        splitIntoCharacters(stretch)
        try mergeAll(stretch)
        var offset = 0
        while offset < stretch.count {
            let length = Int(lengths.elements[offset])
            try appendIDs(of: stretch, offset..<offset + length, id: symbolIDs.elements[offset], to: &ids)
            offset += length
        }
        if !unusedSplits.isEmpty { unusedSplits.removeAll() }
    }

    private func splitIntoCharacters(_ stretch: UnsafeRawBufferPointer) {
        var offset = 0
        while offset < stretch.count {
            let lead = stretch[offset]
            if lead < 0x80 {
                setSymbol(at: offset, length: 1, id: vocabulary.asciiIDs[Int(lead)])
                offset += 1
                continue
            }
            let length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
            let bytes = UnsafeRawBufferPointer(rebasing: stretch[offset..<offset + length])
            for inner in offset + 1..<offset + length { lengths.elements[inner] = 0 }
            setSymbol(at: offset, length: length, id: index.findMergeable(bytes) ?? -1)
            offset += length
        }
    }

    private mutating func mergeAll(_ stretch: UnsafeRawBufferPointer) throws(CabochonError) {
        var left = 0
        while left < stretch.count {
            let right = left + Int(lengths.elements[left])
            if right == stretch.count { break }
            try consider(stretch, left..<right, Int(lengths.elements[right]))
            left = right
        }
        while let candidate = heap.popFirst() {
            let left = candidate.left
            let leftLength = Int(lengths.elements[left])
            let right = left + leftLength
            // Symbols only grow: the pair is still there exactly if its two lengths still add up.
            guard leftLength > 0, leftLength < candidate.size,
                leftLength + Int(lengths.elements[right]) == candidate.size
            else { continue }
            lengths.elements[right] = 0
            setSymbol(at: left, length: candidate.size, id: candidate.id)
            if left > 0 {
                try consider(stretch, Int(starts.elements[left - 1])..<left, candidate.size)
            }
            let end = left + candidate.size
            if end < stretch.count { try consider(stretch, left..<end, Int(lengths.elements[end])) }
        }
    }

    @inline(__always)
    private func setSymbol(at offset: Int, length: Int, id: Int32) {
        lengths.elements[offset] = Int32(truncatingIfNeeded: length)
        starts.elements[offset + length - 1] = Int32(truncatingIfNeeded: offset)
        symbolIDs.elements[offset] = id
    }

    /// Makes the symbol in `left` and the one of `rightLength` bytes after it a candidate, if they make a piece.
    @inline(__always)
    private mutating func consider(
        _ stretch: UnsafeRawBufferPointer, _ left: Range<Int>, _ rightLength: Int
    ) throws(CabochonError) {
        let size = left.count + rightLength
        guard size <= Vocabulary.pieceLimit else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: stretch[left.lowerBound..<left.lowerBound + size])
        // A piece without a rank in tokenizer.json has the score -infinity and is no merge.
        guard let id = index.findMergeable(bytes), index.score(id) > -.infinity else { return }
        if index.kind(id) == .unused { unusedSplits[id] = left.count }
        try heap.push(MergeHeap.Candidate(score: index.score(id), left: left.lowerBound, size: size, id: id))
    }

    /// Appends the ids of one symbol: its own, those of the parts of an unused piece, those of its
    /// bytes, or the unknown piece's.
    private mutating func appendIDs(
        of stretch: UnsafeRawBufferPointer, _ range: Range<Int>, id: Int32, to ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        guard id >= 0, index.kind(id) == .unused else {
            try appendWhole(stretch, range, id: id, to: &ids)
            return
        }
        // Depth first, left part first; each part is shorter, so this ends.
        var pending = [(range, id)]
        while let (range, id) = pending.popLast() {
            guard id >= 0, index.kind(id) == .unused else {
                try appendWhole(stretch, range, id: id, to: &ids)
                continue
            }
            guard let leftLength = unusedSplits[id], leftLength < range.count else {
                // An unused piece that no merge has made is as good as none.
                try appendWhole(stretch, range, id: -1, to: &ids)
                continue
            }
            let middle = range.lowerBound + leftLength
            for part in [middle..<range.upperBound, range.lowerBound..<middle] {
                let bytes = UnsafeRawBufferPointer(rebasing: stretch[part])
                pending.append((part, index.findMergeable(bytes) ?? -1))
            }
        }
    }

    private mutating func appendWhole(
        _ stretch: UnsafeRawBufferPointer, _ range: Range<Int>, id: Int32, to ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        if id >= 0 {
            try append(id, to: &ids)
        } else {
            try appendFallback(UnsafeRawBufferPointer(rebasing: stretch[range]), to: &ids)
        }
    }

    private mutating func appendFallback(
        _ character: UnsafeRawBufferPointer, to ids: inout CheckedArray<Int32>
    ) throws(CabochonError) {
        let byteIDs = vocabulary.byteIDs
        if byteIDs.isEmpty {
            // SentencePiece gives one unknown piece for a run of unknown characters.
            if !endsInUnknown, let unknown = vocabulary.special.unknown { try ids.append(unknown, "token ids") }
            endsInUnknown = true
        } else if character.count == 1, character[0] == 0x20 {
            // A vocabulary without "▁": its bytes are those of the escape, which the file would hold.
            let (first, second, third) = SpaceEscape.bytes
            for byte in [first, second, third] { try append(byteIDs[Int(byte)], to: &ids) }
        } else {
            for byte in character { try append(byteIDs[Int(byte)], to: &ids) }
        }
    }
}
