#include "runtime/fingerprint.h"

#include <google/protobuf/text_format.h>

#include "proto/check.h"
#include "runtime/file.h"

namespace emporium::runtime {

std::string JobFingerprint(const spec::Job& job) {
  spec::Job part;
  part.set_seed(job.seed());
  part.set_mode(job.mode());
  *part.mutable_table() = job.table();
  *part.mutable_dense() = job.dense();
  *part.mutable_feature() = job.feature();
  *part.mutable_model() = job.model();
  *part.mutable_data() = job.data();
  spec::Data* data = part.mutable_data();
  // Which files: the digest of the data itself says more than their names.
  if (data->has_events()) data->mutable_events()->clear_file();
  if (data->has_items()) data->mutable_items()->clear_file();
  if (data->has_split() && data->split().has_files()) {
    data->mutable_split()->mutable_files()->Clear();
  }
  data->clear_items_title_column();
  data->clear_max_bad_rows();
  data->clear_max_bad_fraction();
  part.mutable_cluster()->set_partitions(job.cluster().partitions());

  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  EMPORIUM_CHECK(printer.PrintToString(part, &text), "every job has a text");
  for (int i = 0; i < job.stage_size(); ++i) {
    if (!job.stage(i).has_train()) continue;
    spec::Stage stage = job.stage(i);
    stage.mutable_train()->clear_quarantine_micro_batches();
    std::string of_stage;
    EMPORIUM_CHECK(printer.PrintToString(stage, &of_stage), "every stage has a text");
    text += "\nstage " + std::to_string(i) + ": " + of_stage;
  }
  return Sha256(text);
}

}  // namespace emporium::runtime
