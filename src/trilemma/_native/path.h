// One instruction set's table. A path_*.cpp includes this and supplies the ternary product. Everything in it is
// local to that file, and no template of the standard library is used: the linker keeps one of several equal inline
// functions, and that one might be compiled for a processor that is not there.
#pragma once
#include "attention.h"
#include "dense.h"
#include "gla.h"
#include "mlgru.h"
#include "norm.h"
#include "rows.h"
#include "scan.h"
#include "ternary.h"

namespace trilemma {
namespace {

constexpr Kernels table(const char* name, decltype(Kernels::ternary) ternary) {
    return {name,     ternary, split, dense, norm, norm_gradient, rotate, attention_step, quantize,
            rms_norm, mlgru,   glu,       log_sigmoid, scan, scan_gradient, mlgru_scan, mlgru_gradient, glu_rows,
            glu_gradient,      gla,       gla_gradient, gla_step};
}

}  // namespace
}  // namespace trilemma
