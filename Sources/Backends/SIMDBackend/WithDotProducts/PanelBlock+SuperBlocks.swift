// A super-block's sums where an instruction makes 32-bit sums of four byte products (VNNI, NEON). What such sums become
// when they are scaled is SuperSums' affair.

/// What a block's integer sums start with, for the zero point of a weight's codes.
@inline(__always)
func startOfSums(_ codes: UnsafeRawPointer, count: Int, sum: Int32) -> Int32 { zeroIs128 ? -128 &* sum : 0 &- sum }

extension PanelBlock {
    /// Adds a block's products, times its integer scale and power of two.
    @inline(__always)
    func addSuperProducts<let panels: Int, let tokens: Int>(
        to sums: inout SuperTileSums<panels, tokens>, _ activations: TileRecords
    ) {
        if Format.Scales.halves {
            // One after the other, so that no third set of accumulators is live.
            let first: TileProducts<panels, tokens> = blockProducts(
                self, activations, first: 0, last: 4, start: Tile.halfSumStart(0))
            addScaled(first, 0, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            let second: TileProducts<panels, tokens> = blockProducts(
                self, activations, first: 4, last: 8, start: Tile.halfSumStart(1))
            return addScaled(second, 1, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
        }
        let products: TileProducts<panels, tokens> = blockProducts(
            self, activations, first: 0, last: 8, start: Tile.sumStart)
        // Written out for both panels, and for both parts of a tile, since a loop over them would not be unrolled.
        if tokens == largestTile && tilePart < largestTile {
            addScaled(products, 0, to: &sums, 0, TilePart.self, 0, activations)
            addScaled(products, 0, to: &sums, 0, TilePart.self, tilePart, activations.secondPart)
        } else {
            addScaled(products, 0, to: &sums, 0, InlineArray<tokens, Void>.self, 0, activations)
            if panels == 2 { addScaled(products, 0, to: &sums, 1, InlineArray<tokens, Void>.self, 0, activations) }
        }
    }

    @inline(__always)
    private func addScaled<let panels: Int, let tokens: Int, let few: Int>(
        _ products: TileProducts<panels, tokens>, _ half: Int, to sums: inout SuperTileSums<panels, tokens>,
        _ panel: Int, _: InlineArray<few, Void>.Type, _ start: Int, _ part: TileRecords
    ) {
        let scale = SuperSums.scale(integerScale(panel, half))
        for token in 0..<few {
            sums[panel][start + token] = SuperSums.add(
                products[panel][start + token], times: scale, exponent: part.int(Tile.exponent, token),
                shift: Format.shift, to: sums[panel][start + token])
        }
    }
}
