// The activations as products take them.
import CCabochonBackend
import SIMDIntrinsics

extension BrainFloatTiles {
    /// Of a few tokens: [tokens, columns] of float32, rounded to bfloat16; of more: [part][tile of tokens][32 columns of
    /// the part][16 tokens][32] of bfloat16. Zero beyond the last column and token.
    static func inputBytes(tokens: Int, columns: Int) -> Int {
        let steps = steps(columns)
        return tokens <= fewTokens ? tokens * steps * stepColumns * 4 : tiles(tokens) * steps * stepBytes
    }

    static func fill(
        _ run: UnsafePointer<cabochon_run>, _ activations: Activations, _ memory: UnsafeMutableRawPointer
    ) {
        var task = FillingTask(activations: activations, memory: memory, tiles: tiles(activations.tokens))
        let rows = activations.tokens <= fewTokens ? activations.tokens : task.tiles * tokens
        parallel(run, rows, &task) { context, token, worker in
            let task = context.unsafelyUnwrapped.assumingMemoryBound(to: FillingTask.self).pointee
            if task.activations.tokens <= BrainFloatTiles.fewTokens {
                task.fillRow(token, worker)
            } else {
                task.fillTiles(token, worker)
            }
        }
    }

    private struct FillingTask {
        var activations: Activations
        var memory: UnsafeMutableRawPointer
        var tiles: Int

        func fillRow(_ token: Int, _ worker: Int) {
            let columns = activations.columns
            let row = activations.normalizedRow(token, worker)
            let width = steps(columns) * stepColumns
            let target = memory + token * width * 4
            for column in stride(from: 0, to: width, by: lanes) {
                let values = loadFloats(row + column, first: max(0, min(lanes, columns - column)))
                storeFloats(widenBrainFloats(cabochon_x86_brain_floats_from_512(values)), target + 4 * column)
            }
        }

        func fillTiles(_ token: Int, _ worker: Int) {
            let steps = steps(activations.columns)
            let columns = token < activations.tokens ? activations.columns : 0
            let row = columns > 0 ? activations.normalizedRow(token, worker) : activations.input
            for part in stride(from: 0, to: steps, by: partSteps) {
                let partTiles = 2 * min(partSteps, steps - part)
                let first = memory + part * tiles * stepBytes + token / tokens * partTiles * tileBytes
                for tile in 0..<partTiles {
                    let column = part * stepColumns + tile * tileColumns
                    let low = loadFloats(row + column, first: max(0, min(lanes, columns - column)))
                    let high = loadFloats(row + column + lanes, first: max(0, min(lanes, columns - column - lanes)))
                    storeInts(
                        cabochon_x86_brain_floats_from_both_512(low, high),
                        first + tile * tileBytes + token % tokens * vectorBytes)
                }
            }
        }
    }
}
