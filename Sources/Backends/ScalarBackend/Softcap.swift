// Softcap.swift - cap * tanh(x / cap), Gemma 2's bound on logits.

import CCabochonBackend
import Glibc

/// By the tangent in double: glibc's tanhf is off by a little more than 2 units of the last place.
func softcapped(_ value: Float, _ cap: Float) -> Float { cap * Float(tanh(Double(value / cap))) }

func softcap(_ run: Run, _ args: cabochon_softcap_args) -> Int32 {
    guard let values = args.values else { return CABOCHON_OP_DECLINED }
    let chunk = 4096
    let count = Int(args.count)
    parallel(run, count: (count + chunk - 1) / chunk) { task, _ in
        for i in task * chunk..<min(count, (task + 1) * chunk) { values[i] = softcapped(values[i], args.cap) }
    }
    return CABOCHON_OP_DONE
}
