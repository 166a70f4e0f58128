#include "model/tape.h"

#include <array>

namespace nigiri {

Var Tape::record(Tensor value, std::function<void(const Tensor& dy)> backward, bool any_type) {
    if (!recording_) return {std::move(value), -1};
    Node node;
    node.backward = std::move(backward);
    node.shape = value.shape();
    node.dtype = value.dtype();
    node.any_type = any_type;
    node.in_rows = !value.view().contiguous();
    nodes_.push_back(std::move(node));
    return {std::move(value), static_cast<int>(nodes_.size()) - 1};
}

Var Tape::recomputable(Var y, std::function<Tensor()> compute) const {
    if (recording_ && recompute_) y.again = std::make_shared<Recomputed>(std::move(compute));
    return y;
}

std::vector<Var> Tape::split(const Var& x, const std::vector<int64_t>& columns) {
    std::vector<Var> parts;
    int64_t first = 0;
    for (const int64_t count : columns) {
        Var part{x.value.columns(first, count), -1};
        if (recording_ && x.node >= 0) {
            Node node;
            node.shape = part.shape();
            node.dtype = x.value.dtype();
            node.parent = x.node;
            node.first_column = first;
            nodes_.push_back(std::move(node));
            part.node = static_cast<int>(nodes_.size()) - 1;
            nodes_[static_cast<size_t>(x.node)].parts.push_back(part.node);
        }
        parts.push_back(std::move(part));
        first += count;
    }
    if (first != x.value.columns()) throw Error("a split must cover all columns");
    return parts;
}

Tensor Tape::storage(int index) {
    Node& node = nodes_[static_cast<size_t>(index)];
    if (node.gradient) return node.gradient;
    if (node.parent >= 0) {
        const int64_t first = node.first_column, count = node.shape.columns();
        return node.gradient = storage(node.parent).columns(first, count);
    }
    return node.gradient = node.in_rows ? backend_.allocate_rows(node.shape, node.dtype)
                                        : backend_.allocate(node.shape, node.dtype);
}

Tensor Tape::reserve(const Var& v) {
    if (v.node < 0) return {};
    Node& node = nodes_[static_cast<size_t>(v.node)];
    if (node.ready) return backend_.allocate(node.shape, node.dtype);
    return storage(v.node);
}

void Tape::commit(const Var& v, const Tensor& gradient) {
    if (v.node < 0) return;
    Node& node = nodes_[static_cast<size_t>(v.node)];
    if (!node.ready) {
        node.ready = true;  // reserve() gave the node's own memory
        return;
    }
    if (node.parent >= 0 || node.gradient.unique()) {
        backend_.add({.x1 = node.gradient, .x2 = gradient, .y = node.gradient});
    } else {  // somebody else still reads it: the sum goes into the newcomer's own memory
        backend_.add({.x1 = node.gradient, .x2 = gradient, .y = gradient});
        node.gradient = gradient;
    }
}

Tensor Tape::accumulated(const Var& v) {
    if (v.node < 0) return {};
    const Node& node = nodes_[static_cast<size_t>(v.node)];
    return node.ready && (node.parent >= 0 || node.gradient.unique()) ? node.gradient : Tensor{};
}

void Tape::pass(const Var& v, const Tensor& gradient) {
    if (v.node < 0) return;
    Node& node = nodes_[static_cast<size_t>(v.node)];
    if (!node.ready) {
        if (node.parent < 0 && (gradient.dtype() == node.dtype || node.any_type))
            node.gradient = gradient;
        else
            backend_.copy({.x = gradient, .y = storage(v.node)});
        node.ready = true;
    } else if (node.parent >= 0 || node.gradient.unique()) {
        backend_.add({.x1 = node.gradient, .x2 = gradient, .y = node.gradient});
    } else {
        const Tensor sum = backend_.allocate(node.shape, node.dtype);
        backend_.add({.x1 = node.gradient, .x2 = gradient, .y = sum});
        node.gradient = sum;
    }
}

void Tape::backward(const Var& result, Tensor gradient) {
    if (result.node < 0) throw Error("nothing was recorded for this result");
    Node& last = nodes_[static_cast<size_t>(result.node)];
    if (last.parent >= 0) {
        pass(result, gradient);
        gradient = {};
    } else {
        last.gradient = std::move(gradient);  // given up: its memory is free for others as soon as it has been used
        last.ready = true;
    }
    for (int i = static_cast<int>(nodes_.size()) - 1; i >= 0; --i) {
        Node& node = nodes_[static_cast<size_t>(i)];
        if (!node.parts.empty()) {
            bool any = false;
            for (const int part : node.parts) any = any || nodes_[static_cast<size_t>(part)].ready;
            if (any) {
                for (const int part : node.parts)
                    if (!nodes_[static_cast<size_t>(part)].ready) backend_.fill({.y = storage(part), .value = 0});
                node.ready = true;
            }
            for (const int part : node.parts) nodes_[static_cast<size_t>(part)].gradient = {};
        }
        if (node.parent >= 0) continue;  // its gradient lives in the parent's until that one has run
        if (node.ready && node.backward) {
            // Moved out, so that the record does not count as another owner of its own gradient.
            const Tensor dy = std::move(node.gradient);
            const auto run = std::move(node.backward);
            node.gradient = {};
            run(dy);
        }
        nodes_[static_cast<size_t>(i)].backward = nullptr;
        nodes_[static_cast<size_t>(i)].gradient = {};
    }
    nodes_.clear();
}

}  // namespace nigiri
