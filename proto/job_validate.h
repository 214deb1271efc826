// Parts of ValidateJob (proto/job_file.h), one function a subject; only proto/job_validate*.cc and
// their callers in this folder include this. A Checker belongs to one call of ValidateJob.
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_file.h"

namespace emporium::validate {

// Collects complaints and answers what the subjects ask of each other.
class Checker {
 public:
  explicit Checker(const spec::Job& job) : job_(job) {}

  const spec::Job& job() const { return job_; }
  void Add(const std::string& field, const std::string& problem, const std::string& advice);
  // "is missing": the caller of ValidateJob may drop these where a misspelt field explains them.
  void Missing(const std::string& field, const std::string& advice);
  void NotSupported(const std::string& field, const std::string& what, const std::string& instead);
  // Complains unless `holds`.
  void Expect(bool holds, const std::string& field, const std::string& problem,
              const std::string& advice);
  // Complains unless value lies in [low, high].
  void ExpectRange(double value, double low, double high, const std::string& field);
  void ExpectProbability(double value, const std::string& field);  // [0, 1)

  const spec::Table* FindTable(const std::string& name) const;
  const spec::Feature* FindFeature(const std::string& name) const;
  const spec::Column* FindColumn(DataRole role, const std::string& name) const;
  // Column of a feature, where its source says; null when it is not declared.
  const spec::Column* ColumnOf(const spec::Feature& feature) const;
  bool has_validation() const;
  bool has_test() const;
  // "did you mean x? " when a name of the list is near, then `rest`.
  static std::string Suggest(const std::string& word, const std::vector<std::string>& names,
                             const std::string& rest);

  std::vector<Complaint> Take() { return std::move(complaints_); }

 private:
  const spec::Job& job_;
  std::vector<Complaint> complaints_;
};

// "table" and 2 give "table[2]".
inline std::string At(const std::string& field, int index) {
  return field + "[" + std::to_string(index) + "]";
}
// Complains of a name that is missing, malformed or in `taken`, which it joins.
void CheckName(const std::string& name, const std::string& path, std::vector<std::string>* taken,
               Checker* check);

// The feature that an option names, or null after a complaint.
const spec::Feature* Referred(const std::string& name, const std::string& field, Checker* check);
// Complains unless the feature's table has `dim` (0: any), as `of` has.
void ExpectDim(const spec::Feature& feature, uint32_t dim, const std::string& of,
               const std::string& field, Checker* check);

void CheckTables(Checker* check);
// Popularity, admission, expiry and slots of one table.
void CheckRetention(const spec::Table& table, const std::string& path, Checker* check);
void CheckSlotInputs(const spec::Feature& feature, const spec::Column& column,
                     const std::string& path, Checker* check);
void CheckData(Checker* check);
void CheckFeatures(Checker* check);
void CheckTasks(Checker* check);
void CheckModel(Checker* check);
// A model that scores samples one by one.
void CheckPointwiseModel(Checker* check);
// What implicit feedback needs: whose past an event has, and which items there are.
void ExpectUserItemTime(const std::string& field, const std::string& why, Checker* check);
void CheckStages(Checker* check);
void CheckRunning(Checker* check);

}  // namespace emporium::validate
