// The product of a packed weight's panels by tiles of activations: which panels and tokens are taken together.

/// output[token, 0 ..< rows] = the products of the panels, `panelsTogether` at most, that these rows fill, for tokens in a
/// row, the first of which begins a tile.
///
/// The first tile brings the panels into a cache, one after the other. Those that follow are bound by loads, of
/// which every byte product makes one where a panel takes a tile alone; so two panels take it together, in parts
/// that the registers hold, and each activation that is loaded serves both.
struct PanelProduct: FormatOperation {
    /// The panels, as files have codes or unpacked.
    var panels: UnsafeRawPointer
    var panelBytes: Int
    var blocks: Int
    /// The tile that comes next; tokens to go, and those of the op from here on, and all.
    var tile: UnsafeRawPointer
    var matrices: UnsafeRawPointer
    var tokens: Int
    var remainingTokens: Int
    var operationTokens: Int
    /// Whether the panels come from memory.
    var isFirst: Bool
    /// Memory for super-blocks' totals; then the panels' spread records of scales, [chunks, panelsTogether, spreadBytes],
    /// or all of them unpacked. What lies there the first tokens of a pass make.
    var memory: UnsafeMutableRawPointer
    var isFirstOfPass: Bool
    /// Of the next token.
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int
    var rows: Int

    /// Bytes of `memory` that an op of so many tokens needs for a weight of `blocks` blocks.
    @inline(__always)
    static func memoryBytes<Format: PackedFormat>(_: Format.Type, blocks: Int, tokens: Int) -> Int {
        if MatrixPanel<Format>.pays(tokens: tokens) { return MatrixPanel<Format>.bytes(tokens: tokens) }
        if UnpackedPanel<Format>.pays(tokens: tokens) {
            return totalBytes + panelsTogether * UnpackedPanel<Format>.bytes(blocks: blocks)
        }
        if !Format.Scales.isSuper { return 0 }
        return totalBytes + (Format.Scales.isSpread ? blocks / 8 * panelsTogether * spreadBytes : 0)
    }
    private static let totalBytes = largestTile * vectorBytes

    @inline(__always) func run<Format: PackedFormat>(_: Format.Type) {
        if MatrixPanel<Format>.pays(tokens: operationTokens) {
            return MatrixPanel<Format>.multiplyPanels(
                panels, panelBytes: panelBytes, blocks: blocks, matrices, tokens: tokens, memory: memory, output,
                outputStride, rows: rows)
        }
        var product = self
        if UnpackedPanel<Format>.pays(tokens: operationTokens) {
            product.panels = UnsafeRawPointer(memory + PanelProduct.totalBytes)
            product.panelBytes = UnpackedPanel<Format>.bytes(blocks: blocks)
            // Unpacking asks for what comes from memory.
            product.isFirst = false
            if isFirstOfPass {
                for panel in 0..<(rows + lanes - 1) / lanes {
                    UnpackedPanel<Format>.unpack(
                        panels + panel * panelBytes, blocks: blocks,
                        to: memory + PanelProduct.totalBytes + panel * product.panelBytes)
                }
            }
            return product.multiplyTiles(UnpackedPanel<Format>.self)
        }
        product.multiplyTiles(Format.self)
    }

    @inline(__always)
    private mutating func multiplyTiles<Format: PanelFormat>(_: Format.Type) {
        let tokenBytes = tokenBytes(Format.self)
        while tokens > 0 {
            let size = Tile.size(remaining: remainingTokens)
            multiplyTile(Format.self, size)
            tile += size * tokenBytes
            output += size * outputStride
            tokens -= size
            remainingTokens -= size
            isFirst = false
            isFirstOfPass = false
        }
    }

    /// A token's share of the tiles.
    @inline(__always) private func tokenBytes<Format: PanelFormat>(_: Format.Type) -> Int {
        Tile.tokenBytes(blocks: blocks, Format.Scales.isSuper ? .superBlocks : .blocks)
    }

    @inline(__always)
    private func multiplyTile<Format: PanelFormat>(_: Format.Type, _ size: Int) {
        if size == largestTile && rows == 2 * lanes && panelsTogether == 2 && !isFirst && !Format.Scales.halves {
            multiply(Format.self, InlineArray<2, Void>.self, TilePart.self, 0, from: 0)
            return multiply(Format.self, InlineArray<2, Void>.self, TilePart.self, 0, from: tilePart)
        }
        for panel in 0..<(rows + lanes - 1) / lanes {
            // Unpacking codes takes the registers that all of a tile, or a second panel, would need.
            if Format.Scales.halves && size == largestTile && tilePart < largestTile {
                multiply(Format.self, InlineArray<1, Void>.self, TilePart.self, panel, from: 0)
                multiply(Format.self, InlineArray<1, Void>.self, TilePart.self, panel, from: tilePart)
                continue
            }
            switch size {
            case 1: multiply(Format.self, InlineArray<1, Void>.self, InlineArray<1, Void>.self, panel, from: 0)
            case 2: multiply(Format.self, InlineArray<1, Void>.self, InlineArray<2, Void>.self, panel, from: 0)
            case 4: multiply(Format.self, InlineArray<1, Void>.self, InlineArray<4, Void>.self, panel, from: 0)
            case 8 where largestTile > 8:
                multiply(Format.self, InlineArray<1, Void>.self, InlineArray<8, Void>.self, panel, from: 0)
            default: multiply(Format.self, InlineArray<1, Void>.self, LargestTile.self, panel, from: 0)
            }
        }
    }

    /// `count` panels by `taken` tokens of the tile, a whole one or a part.
    private func multiply<Format: PanelFormat, let count: Int, let taken: Int>(
        _: Format.Type, _: InlineArray<count, Void>.Type, _: InlineArray<taken, Void>.Type, _ firstPanel: Int,
        from firstToken: Int
    ) {
        var sums = TileSums<count, taken>(repeating: InlineArray(repeating: broadcast(Float(0))))
        var chunk = panels + firstPanel * panelBytes
        let tokenBytes = tokenBytes(Format.self)
        let hasParts = taken == largestTile
        var activations = TileRecords(
            records: tile + firstToken * tokenBytes,
            span: hasParts ? tokenBytes * tilePart : Tile.blockBytes(tilePart), stride: Tile.blockRecordBytes)
        var remaining = blocks
        var spread = memory + PanelProduct.totalBytes + firstPanel * spreadBytes
        if Format.Scales.isSuper {
            for index in 0..<count * taken { storeFloats(broadcast(Float(0)), memory + index * vectorBytes) }
        }
        let asks = count == 1 && isFirst && firstToken == 0
        let isFar = taken < largestTile && Format.Codes.bits < 8 && Prefetch.sparesFirstCache
        while remaining > 0 {
            if Format.Scales.isSpread && isFirstOfPass && firstToken == 0 {
                spreadScales(Format.self, chunk, InlineArray<count, Void>.self, to: spread)
            }
            if Format.Scales.isSuper {
                var blockSums = SuperTileSums<count, taken>(repeating: InlineArray(repeating: SuperSums.zero))
                // A lone token asks for memory behind its products: before them, which take few instructions here, requests
                // come too fast for Zen 4 (0.97 of the speed). In front of several tokens' products, which the compiler
                // would else move behind the branch, and out of registers.
                for index in 0..<8 {
                    let block = PanelBlock<Format>(chunk, index, panelBytes: panelBytes, spread: spread)
                    if asks && taken > 1 { block.prefetch(countingScales: taken < largestTile, isFar: isFar) }
                    block.addSuperProducts(to: &blockSums, activations)
                    if asks && taken == 1 { block.prefetch(countingScales: true, isFar: isFar) }
                    activations.records += Tile.blockBytes(Tile.part(of: taken))
                }
                let common = SuperBlock<Format>(
                    record: Format.Scales.isSpread ? UnsafeRawPointer(spread) : chunk + Format.chunkCodeBytes,
                    recordStride: Format.Scales.isSpread ? spreadBytes : panelBytes, totals: memory)
                common.add(
                    blockSums,
                    TileRecords(
                        records: activations.records,
                        span: hasParts ? activations.span : Tile.superRecordBytes * tilePart,
                        stride: Tile.superRecordBytes))
                activations.records += Tile.superRecordBytes * Tile.part(of: taken)
            } else {
                for index in 0..<min(remaining, Format.chunkBlocks) {
                    let block = PanelBlock<Format>(chunk, index, panelBytes: panelBytes, spread: spread)
                    if asks { block.prefetch(countingScales: taken < largestTile, isFar: isFar) }
                    block.addProducts(to: &sums, activations)
                    activations.records += Tile.blockBytes(Tile.part(of: taken))
                }
            }
            chunk += Format.chunkBytes
            if Format.Scales.isSpread { spread += panelsTogether * spreadBytes }
            remaining -= Format.chunkBlocks
        }
        for panel in 0..<count {
            let row = (firstPanel + panel) * lanes
            for token in 0..<taken {
                if Format.Scales.isSuper {
                    sums[panel][token] = loadFloats(memory + (panel * taken + token) * vectorBytes)
                }
                let target = output + (firstToken + token) * outputStride + row
                if rows - row >= lanes {
                    storeFloats(sums[panel][token], target)
                } else {
                    storeFloats(sums[panel][token], target, first: rows - row)
                }
            }
        }
    }

    @inline(__always)
    private func spreadScales<Format: PanelFormat, let count: Int>(
        _: Format.Type, _ chunk: UnsafeRawPointer, _: InlineArray<count, Void>.Type, to spread: UnsafeMutableRawPointer
    ) {
        for panel in 0..<count {
            Format.Scales.spread(
                chunk + panel * panelBytes + Format.chunkCodeBytes, to: spread + panel * spreadBytes)
        }
    }
}
