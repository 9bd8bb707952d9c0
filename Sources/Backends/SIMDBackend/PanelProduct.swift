// The product of a packed weight's panels by one tile of activations: which panels and tokens are taken together.

/// output[token, 0 ..< rows] = the products of the panels, `panelsTogether` at most, that these rows fill.
///
/// The first tile brings the panels into a cache, one after the other. Those that follow are bound by loads, of
/// which every byte product makes one where a panel takes a tile alone; so two panels take it together, in parts
/// that the registers hold, and each activation that is loaded serves both.
struct PanelProduct: FormatOperation {
    var panels: UnsafeRawPointer
    var weight: PackedWeight
    var tile: UnsafeRawPointer
    var tokens: Int
    var isFirst: Bool
    /// The panels' spread records of scales, [chunks, panelsTogether, spreadBytes], and whether they are still to be made.
    var spread: UnsafeMutableRawPointer
    var spreads: Bool
    var output: UnsafeMutablePointer<Float>
    var outputStride: Int
    var rows: Int

    @inline(__always) func run<Format: PackedFormat>(_: Format.Type) {
        if tokens == largestTile && rows == 2 * lanes && panelsTogether == 2 && !isFirst && !Format.Scales.halves {
            multiply(Format.self, InlineArray<2, Void>.self, TilePart.self, 0, from: 0)
            return multiply(Format.self, InlineArray<2, Void>.self, TilePart.self, 0, from: tilePart)
        }
        for panel in 0..<(rows + lanes - 1) / lanes {
            switch tokens {
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
    private func multiply<Format: PackedFormat, let count: Int, let taken: Int>(
        _: Format.Type, _: InlineArray<count, Void>.Type, _: InlineArray<taken, Void>.Type, _ firstPanel: Int,
        from firstToken: Int
    ) {
        var sums = TileSums<count, taken>(repeating: InlineArray(repeating: broadcast(Float(0))))
        var chunk = panels + firstPanel * weight.panelBytes
        var activations = TileBlock(
            records: tile + firstToken * weight.blocks * Tile.bytesPerToken,
            span: taken == largestTile ? weight.blocks * Tile.blockBytes(tilePart) : Tile.blockBytes(tilePart))
        var remaining = weight.blocks
        var spread = spread + firstPanel * spreadBytes
        let isFar = lanes == 16 && taken < largestTile && Format.Codes.bits < 8 && Prefetch.sparesFirstCache
        while remaining > 0 {
            if Format.Scales.isSpread && spreads && firstToken == 0 {
                spreadScales(Format.self, chunk, InlineArray<count, Void>.self, to: spread)
            }
            for index in 0..<min(remaining, Format.chunkBlocks) {
                let block = PanelBlock<Format>(chunk, index, panelBytes: weight.panelBytes, spread: spread)
                if isFirst { block.prefetch(countingScales: taken < largestTile, isFar: isFar) }
                if !Format.Scales.halves {
                    block.addProducts(to: &sums, activations)
                } else if taken == largestTile && tilePart < largestTile {
                    block.addHalves(to: &sums, TilePart.self, 0, activations)
                    block.addHalves(to: &sums, TilePart.self, tilePart, activations.secondPart)
                } else {
                    block.addHalves(to: &sums, InlineArray<taken, Void>.self, 0, activations)
                }
                activations.records += Tile.blockBytes(Tile.part(of: taken))
            }
            chunk += Format.chunkBytes
            if Format.Scales.isSpread { spread += panelsTogether * spreadBytes }
            remaining -= Format.chunkBlocks
        }
        for panel in 0..<count {
            let row = (firstPanel + panel) * lanes
            for token in 0..<taken {
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
    private func spreadScales<Format: PackedFormat, let count: Int>(
        _: Format.Type, _ chunk: UnsafeRawPointer, _: InlineArray<count, Void>.Type, to spread: UnsafeMutableRawPointer
    ) {
        for panel in 0..<count {
            Format.Scales.spread(
                chunk + panel * weight.panelBytes + Format.chunkCodeBytes, to: spread + panel * spreadBytes)
        }
    }
}
