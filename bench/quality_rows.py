"""The rows of docs/quality.md: which jobs on which data, what is shown of them, what they are held
to.

A new row is one entry of ROWS, a new model on known data one entry of its row.
"""
import collections
import re

# label: as the table names it. job: in bench/jobs. changes: [(pattern, replacement)] of its text,
# each of which must match. goal: {metric: least value}. published: what others report of such a
# model. same_as: (row, label) of the entry whose runs say this one's metrics too. beats: labels of
# entries and names of floors of the row than which its means must be no worse, by every metric.
# seeds: where they are others than the row's.
Entry = collections.namedtuple("Entry", "label job changes goal published same_as beats seeds",
                               defaults=((), {}, "", None, (), None))
# about: data and protocol. folder: below --data. make: arguments of the script that makes the job's
# files of the folder's; empty: they are read as they are. metrics: {name in the job's results:
# head}. floors: {what: {metric: value's name in the results of the first entry that has the
# metric}}. budget: how settings were chosen.
# note: of goals that are missed, what was tried and what comes next.
Row = collections.namedtuple("Row", "figure about folder make seeds metrics floors budget entries "
                             "note", defaults=("",))

CTR = {"auc": "AUC", "logloss": "logloss"}
RANK = {"hr@10": "HR@10", "ndcg@10": "NDCG@10"}
RANK_99 = {"sampled99_hr@10": "HR@10 of 100", "sampled99_ndcg@10": "NDCG@10 of 100"}
ITEM_KNN = {"popularity": "floor_popall_%s", "item-kNN": "floor_knn_%s"}

FIVE_SEEDS = (1, 2, 3, 4, 5)
FRAPPE = "[BARS](https://openbenchmark.github.io/BARS), Frappe_x1"


def _frappe(label, name, auc, goal=None, seeds=None):
    return Entry(label, f"frappe_{name}", (), {"auc": goal} if goal else {}, f"{auc} ({FRAPPE})",
                 seeds=seeds)


def _tasks(data, label, name, goal, published="", beats=()):
    return Entry(label, f"{data}_{name}", (), goal, published, beats=beats)


NO_ATTRIBUTES = ((r'^    attribute_feature: "attributes"\n', ""),
                 (r'^feature \{ name: "attributes".*\n', ""),
                 (r'^table \{\n  name: "attribute"\n(?:.*\n)*?\}\n', ""))
# For the ranking among sampled items: more weight on what items have in common.
COARSER = ((r"user_dropout: 0.3", "user_dropout: 0.6"),
           (r'^    title_feature: "attributes"\n', r"\g<0>    title_weight: 2\n"))
NO_TITLE = tuple((pattern.replace("attribute_feature", "title_feature"), replacement)
                 for pattern, replacement in NO_ATTRIBUTES)
LEAVE_ONE_OUT = ("leave-one-out (the last item of a user is test, the one before validation and "
                 "part of the input at test)")


def _sasrec(figure, title, name, goal, published):
    return Row(
        figure, f"{title}, {LEAVE_ONE_OUT}; all items ranked but the user's earlier ones",
        "amazon_sequences", ("sequences.py", name), (1, 2, 3), RANK, ITEM_KNN,
        "SASRec: settings of a prototype that was tuned on the validation items; M13: four "
        "settings compared on Toys' validation items",
        [Entry("SASRec with attributes", f"{name}_sasrec", (), goal,
               "no attributes: " + published),
         Entry("SASRec", f"{name}_sasrec", NO_ATTRIBUTES, {}, published),
         Entry("M13 with attributes", f"{name}_two_tower", (), goal),
         Entry("M13", f"{name}_two_tower", NO_TITLE)],
        "The test was read with two settings of M13: this one, and that of the ranking among 99 "
        "(Beauty .0974 / .0544, Toys .1052 / .0607), which has the higher hit rate on Toys' "
        "validation items and the lower NDCG (.1282 / .0758 against .1260 / .0765).")


def _among_99(figure, title, name, published):
    goal = {"sampled99_hr@10": 0.51, "sampled99_ndcg@10": 0.33}
    return Row(
        figure, f"{title}, {LEAVE_ONE_OUT}; ranked among 99 items that the user never had, drawn "
        "by the job's seed", "amazon_sequences", ("sequences.py", name), (1, 2, 3), RANK_99,
        ITEM_KNN,
        "one setting of widths and rates for DIN, BST and BST + DIN; early stop on validation "
        "NDCG@10",
        [Entry("DIN with attributes", "beauty_din", (), goal, published),
         Entry("BST with attributes", "beauty_bst", (), goal),
         Entry("BST + DIN with attributes [OURS]", "beauty_bst_din"),
         Entry("SASRec with attributes", f"{name}_sasrec",
               same_as=(name, "SASRec with attributes")),
         Entry("M13 with attributes", f"{name}_two_tower", COARSER,
               {"sampled99_hr@10": 0.56, "sampled99_ndcg@10": 0.38})],
        "M13's settings differ from those of the full ranking: with the dropout of the user vector "
        "there (.3, attributes' weight 1) it has .5491 / .3838 on Beauty and .5408 / .3786 on "
        "Toys, but a better head of the ranking of all items. Found on Toys' validation items, ten "
        "settings; SASRec is trained for the ranking of all items. BST's NDCG on Toys is .0002 "
        "below its goal, with a spread of .0059 over the seeds: the settings are Beauty's, and a "
        "longer patience is the next thing to try. Next: the settings of M13 for SASRec.")


MODEL = r"^model \{\n(?:.*\n)*?\}\n"
TRICDR_MLP = "mlp { hidden: [64, 32] dropout: 0.3 }"
DIN = (MODEL, 'model { din { pair { target: "item" history: "own" } attention { hidden: 32 } '
       "softmax: true " + TRICDR_MLP + " } }\n")


def _tricdr(label, name, options):
    return Entry(label, "tricdr_sfpnet", ((MODEL, "model { %s { %s } }\n" % (name, options)),))


def _tricdr_alone(label, domain):
    """DIN on the events of one domain."""
    return Entry(label, "tricdr_sfpnet", (
        DIN, (r'^feature \{ name: "other".*\n', ""),
        (r'"(train|valid|test)\.csv"', r'"%s_\1.csv"' % domain),
        (r'value: "toy" value: "game"', 'value: "%s"' % domain)))


CART_AND_BUY = {"auc[task=cart]": 0.73, "auc[task=buy]": 0.68}
SINGLE_TASKS = ("cart alone (MLP)", "buy alone (MLP)")
WITHIN_003 = {"auc[task=income]": 0.9068, "auc[task=never_married]": 0.9605}
ADULT = " (5 epochs; github.com/morningsky/multi_task_learning)"
# Of the tower's job: the same model without it, its other form, and the place as an input.
TOWER = r'^  position \{ column: "place" places: 30 \}\n'
PLACE_AS_INPUT = ((TOWER, ""), (r'^feature \{ name: "pair".*\n', """\\g<0>\
feature { name: "place" column: "served_place" table: "pair" salt: 1 }
"""))
NO_NORMALISATION = ((r"^  slot .*\n", ""), (r"^    event_slot: .*\n", ""),
                    (r"^    target_slot: .*\n", "    normalise: NONE\n"))
QUERY_ALONE = "the same without history: query alone"
STAGE = r'^stage \{\n  name: "%s"\n(?:.*\n)*?\}\n'

ROWS = {
    "frappe": Row(
        "Q1", "Frappe_x1: which app is used in a context; test set of the public benchmark, whose "
        "training set is rebuilt (positives exact, negatives drawn again)",
        "frappe_x1", (), (1, 2, 3), CTR, {},
        "settings as published, but for micro-batches of 2048, found with a prototype of DCNv2 on "
        "validation AUC; early stop on that",
        [_frappe("LR", "lr", ".9356 / .3076", 0.9336),
         _frappe("FM", "fm", ".9671 / .2065"),
         _frappe("DNN", "dnn", ".9833 / .1622"),
         _frappe("DeepFM", "deepfm", ".9842 / .1482"),
         _frappe("DCNv2", "dcn_v2", ".9845 / .1491; mean of five runs .98382", 0.984,
                 FIVE_SEEDS),
         _frappe("DCN-mix", "dcn_mix", "FinalMLP, the best, .9861 / .1484", 0.984,
                 FIVE_SEEDS)],
        "The published runs apply Adam with l2 to every row of every table in each step, "
        "touched or not; their mean of twelve is .9838 on the test. Where untouched rows and "
        "their moments stand still, a prototype of DCNv2 (PyTorch) reached .9829 on "
        "validation, with whole tables .9842. `decay_untouched` makes up for the missed decay "
        "when a row is next touched: with a smaller network .9833 against .9827 without and "
        ".9840 with whole tables; in micro-batches of 2048, .9845. Next: moments that decay "
        "for the missed steps too (.9836 in micro-batches of 4096, .9846 of 2048), and a rate "
        "that falls later: the two seeds whose validation dipped first have the lowest AUC."),
    "beauty": _sasrec("Q2", "Amazon Beauty", "beauty", {"hr@10": 0.09, "ndcg@10": 0.054},
                      "ICLRec .0744 / .0403, CE-SASRec .0810 / .0457"),
    "toys": _sasrec("Q3", "Amazon Toys and Games", "toys", {"hr@10": 0.097, "ndcg@10": 0.06},
                    "ICLRec .0834 / .0480"),
    "beauty99": _among_99("Q4", "Amazon Beauty", "beauty",
                          "SASRec .4696 / .3156, S3-Rec (attributes) .5506 / .3732; own draws"),
    "toys99": _among_99("Q4", "Amazon Toys and Games", "toys",
                        "SASRec .4663 / .3136, S3-Rec (attributes) .5530 / .3629; own draws"),
    "bert4rec": Row(
        "Q5", f"Beauty with 54,542 items (BERT4Rec's files), {LEAVE_ONE_OUT}; all items ranked but "
        "the user's earlier ones", "bert4rec_beauty", ("sequences.py", "bert4rec"), (1, 2, 3), RANK,
        ITEM_KNN, "settings of the Beauty row, four times the negatives for four times the items",
        [Entry("M13, sampled softmax", "bert4rec_two_tower", (), {"hr@10": 0.055, "ndcg@10": 0.033},
               "SASRec with full cross entropy .0533 / .0327, with 3000 negatives .0490 / .0295")],
        "The test was read before with 1024 negatives, six epochs and less dropout: .0549 / "
        ".0315. NDCG is .0012 short. Next: SASRec on this set, which has the better head of the "
        "ranking on Beauty (.0608 against .0567 with attributes)."),
    "taobao": Row(
        "Q6", "Taobao, which viewed items go into the cart and are bought; rows split 72/8/20 at "
        "random; inputs are user, item, how many views, carts and buys each has beyond the rows, "
        "and the labels of the user's other training rows, weighed by how alike the items are",
        "taobao_multibehaviour", ("multi_task_data.py", "taobao"), (1, 2, 3),
        {"auc[task=cart]": "AUC cart", "auc[task=buy]": "AUC buy"}, {},
        "one setting of widths and regularisation for all models, from validation AUC",
        [_tasks("taobao", "shared bottom", "shared_bottom", {}),
         _tasks("taobao", "MMoE", "mmoe", CART_AND_BUY, beats=SINGLE_TASKS),
         _tasks("taobao", "PLE", "ple", CART_AND_BUY, beats=SINGLE_TASKS),
         Entry("cart alone (MLP)", "taobao_cart"), Entry("buy alone (MLP)", "taobao_buy")],
        "The labels of the user's other rows, weighed by how alike the items are, brought .012 on "
        "cart and .004 on buy (validation). Several tasks are better than one on buy and not on "
        "cart, and neither difference is shown: with wider layers (128), half the weight on buy "
        "or an early stop on cart, one task and several gained alike (.734 to .735 and .690 to "
        ".691). Boosted trees on shares and counts alone, without ids, reach .742 and .701. Next: "
        "shares by what was put into carts together, beside those by views. The test was read "
        "with the early stop on cart and half the weight on buy too (shared bottom .7378 / .6930), "
        "before this setting was kept."),
    "adult": Row(
        "Q7", "UCI Adult: income above 50 K and never married; the data's own test set",
        "uci_adult", ("multi_task_data.py", "adult"), (1, 2, 3),
        {"auc[task=income]": "AUC income", "auc[task=never_married]": "AUC never married"}, {},
        "one setting for all models, five epochs",
        [_tasks("adult", "shared bottom", "shared_bottom", WITHIN_003, ".9098 / .9635" + ADULT),
         _tasks("adult", "MMoE", "mmoe", WITHIN_003, ".9091 / .9638" + ADULT),
         _tasks("adult", "PLE", "ple", WITHIN_003, ".9103 / .9635" + ADULT)]),
    "tricdr": Row(
        "Q8", "Toys and Games of the same 7,996 users, as two scenarios; leave-one-out in each "
        "(the last event is test, the one before validation and part of the input at test); ranked "
        "among 99 items of the same domain that the user never had, drawn by the job's seed",
        "tricdr_toy_game", ("sequences.py", "tricdr"), (1, 2, 3),
        {f"sampled99_{metric}[domain={domain}]": f"{head} of 100, {title}"
         for domain, title in (("toy", "Toys"), ("game", "Games"))
         for metric, head in (("hr@10", "HR@10"), ("ndcg@10", "NDCG@10"))}, {},
        "one setting of widths and rates for all models, three compared on validation; early stop "
        "on validation NDCG@10 of all",
        [Entry("SFPNet [OURS]", "tricdr_sfpnet",
               beats=("DIN, Toys alone", "DIN, Games alone")),
         _tricdr("scenario bottom", "scenario_bottom",
                 "bottom { hidden: 64 dropout: 0.3 } tower { hidden: 32 }"),
         _tricdr("HMoE", "hmoe", "experts: 4 expert { hidden: 64 dropout: 0.3 } gate {} "
                 "tower { hidden: 32 }"),
         _tricdr("STAR", "star", TRICDR_MLP),
         _tricdr("PEPNet", "pepnet", 'personal: "item" personal: "own" ' + TRICDR_MLP),
         Entry("DIN, both", "tricdr_sfpnet", (DIN,)),
         _tricdr_alone("DIN, Toys alone", "toy"),
         _tricdr_alone("DIN, Games alone", "game")],
        "What the user had in the other domain is pooled, his history of the sample's own domain "
        "attended to. With one history of both domains SFPNet was above on Games alone (.2723 / "
        ".1527 and .4565 / .2826, one seed)."),
    "tricdr_all": Row(
        "Q8", "the same users, " + LEAVE_ONE_OUT + " in each domain; all items of the domain "
        "ranked but the user's earlier ones; histories of both domains or of one",
        "tricdr_toy_game", ("sequences.py", "tricdr"), (1, 2, 3),
        {f"{metric}[domain={domain}]": f"{head}, {title}"
         for domain, title in (("toy", "Toys"), ("game", "Games"))
         for metric, head in (("hr@10", "HR@10"), ("ndcg@10", "NDCG@10"))}, ITEM_KNN,
        "SASRec: one setting for all, that of the Toys row at half the width; M13: one for all, "
        "five compared on validation for each domain alone and for both",
        [Entry(f"SASRec, {title} alone", "tricdr_sasrec",
               ((r"sequences_both", f"sequences_{domain}"),
                (r'value: "toy" value: "game"', f'value: "{domain}"')))
         for domain, title in (("toy", "Toys"), ("game", "Games"))] +
        [Entry("SASRec, both", "tricdr_sasrec")] +
        [Entry(f"M13, {title} alone", "tricdr_two_tower",
               ((r"sequences_both", f"sequences_{domain}"), (r"epochs: 6\b", "epochs: 12"),
                (r'value: "toy" value: "game"', f'value: "{domain}"')))
         for domain, title in (("toy", "Toys"), ("game", "Games"))] +
        [Entry("M13, both", "tricdr_two_tower",
               beats=("M13, Toys alone", "M13, Games alone", "SASRec, Toys alone",
                      "SASRec, Games alone", "item-kNN"))],
        "For SASRec, histories of both domains help Toys and not Games: it cannot tell which "
        "domain is asked for. M13 can: the ages of events say which are of the same domain as the "
        "one asked for (bench/sequences.py), so that they are pooled with weights of their own. On "
        "validation (one seed) both .0580 / .0384 and .0937 / .0553, alone .0576 / .0376 and "
        ".0892 / .0513 (Games alone with the same age edges .0891 / .0510). On the test both are "
        "above alone but for Toys' NDCG, .0003 short with a spread of .0011: there the other "
        "domain adds nothing that shows. The floor leaves out what the user had; the published "
        "one (.0399/.0266 and .0603/.0384) seems to count it. Next: to train on both and go on "
        "with one."),
    "product_search99": Row(
        "Q9", "Amazon Cell Phones, product search: a tenth of the training lines' pairs (user, "
        "item) held out, by the words of the query and the user's other purchases; ranked among 99 "
        "items that the user never had, drawn by the job's seed", "amazon_search_cellphones",
        ("product_search_data.py", "pairs"), (1, 2, 3), RANK_99, {},
        "one setting for all, chosen on another twentieth",
        [Entry("NAM-style [OURS]", "product_search_nam", beats=(QUERY_ALONE,)),
         Entry(QUERY_ALONE, "product_search_nam",
               ((r"min_length: 0 ", "min_length: 0 lag_seconds: 1000000000 "),)),
         Entry("the same without normalisation", "product_search_nam", NO_NORMALISATION)],
        "That the history helps is not shown: what it adds lies within the spread of the "
        "seeds. Five settings of NAM and two of the query alone were compared on another "
        "twentieth of the pairs. It is in the data: on the held-out pairs item-kNN of the "
        "user's purchases lifts the MRR of a prototype over the whole catalogue from .079 to "
        ".119."),
    "product_search": Row(
        "Q9", "the same shop's own test: 665 pairs of a user and one of 30 queries that training "
        "never has; all items ranked but the user's earlier ones. Of the words of a training query "
        "half are kept, by a draw", "amazon_search_cellphones",
        ("product_search_data.py", "queries"), (1, 2, 3), {"mrr": "MRR", "ndcg@10": "NDCG@10"},
        {"popularity": "floor_popall_%s", "item-kNN": "floor_knn_%s"},
        "eight settings compared on two and a half thousand lines of 27 held-out queries",
        [Entry("two-tower with word query", "product_search_two_tower", (), {"mrr": 0.14},
               "word overlap and popularity .1140 / .1212, HEM .124 / .153")],
        "Far below the floor of word overlap. Trained on the queries as they are it had MRR .018 "
        "on 27 held-out queries, on half of their words .028 (popularity .023, word overlap and "
        "popularity .032, item-kNN .017); the items' words as their titles (.014), more epochs "
        "(.011), the query alone (.002) and a popularity part (.023) were no better. The test's "
        "queries differ from those: the words that decide (electronics, component, portable) "
        "occur in a hundredth of the training's, and item vectors that no word enters know them "
        "only through who bought the item. Prototypes (PyTorch, settings from held-out whole "
        "queries, each read once on the test, 3 seeds) whose items have the words of the queries "
        "that led to them, the sample's own query left out: query alone .118 +- .004, a two-tower "
        "with a user part .122 +- .003, with item-kNN added .142 +- .009. Four of the 30 test "
        "queries are nearly the whole sum: drawing queries anew moves it by .07. Next: item "
        "vectors that may differ by sample (left-out words), which the two-tower cannot say yet."),
    "retrotech": Row(
        "Q10", "Retrotech: which of a query's documents are clicked; sessions, which its authors "
        "synthesised from a click model over a real catalogue, split 72/8/20 at random. The place "
        "is withheld from what is scored. At one place: GAUC among the impressions of one place of "
        "one query, whose clicks differ by the documents alone; two of the same document, of which "
        "there are many, count 1/2. By session: GAUC over what a session saw, whose clicks the "
        "place has biased, so that a model gains which guesses the place from the document. PCOC "
        "of a product is of items that are seen for certain",
        "retrotech", ("retrotech_data.py",), (1, 2, 3),
        {"s_gauc": "GAUC at one place", "gauc": "GAUC by session", "auc": "AUC", "pcoc": "PCOC"},
        {},
        "one setting for all models, from validation GAUC at one place",
        [Entry("LR of query-document pairs", "retrotech_position", ((TOWER, ""),)),
         Entry("+ position tower, additive", "retrotech_position", (), {"s_gauc": 0.55}),
         Entry("+ position tower, product", "retrotech_position",
               ((r"places: 30", "places: 30 form: PRODUCT"),), {"s_gauc": 0.55}),
         Entry("+ the place as an input, a default when served", "retrotech_position",
               PLACE_AS_INPUT)]),
    "onlineretail": Row(
        "Q11", "Online Retail: items that a customer has not bought before, of the last 30 days; "
        "all 3,659 items ranked", "onlineretail", (), (1, 2, 3), RANK,
        {"popularity, 30 days": "floor_pop30d_%s", "popularity, 7 days": "floor_pop7d_%s",
         "item-kNN": "floor_knn_%s"},
        "settings of a prototype that was tuned on the two months before the test month",
        [Entry("M13, both stages", "onlineretail", (), {"ndcg@10": 0.15},
               beats=("without pretraining", "without the popularity part", "without title words",
                      "without dropout", "popularity, 7 days", "item-kNN")),
         Entry("without pretraining", "onlineretail",
               ((STAGE % "pretrain", ""), (r"base_factor: 0.02", "base_factor: 1"))),
         Entry("pretraining alone", "onlineretail", ((STAGE % "finetune", ""),)),
         Entry("512 negatives by popularity, logQ", "onlineretail",
               ((r"negatives \{ all \{\} \}", "negatives { unigram { count: 512 } }"),),
               beats=("the same without logQ",)),
         Entry("the same without logQ", "onlineretail",
               ((r"negatives \{ all \{\} \}",
                 "negatives { unigram { count: 512 } } log_q: false"),)),
         Entry("without the popularity part", "onlineretail",
               ((r"^    popularity \{\n(?:      counter.*\n)*    \}\n", ""),)),
         Entry("without title words", "onlineretail",
               ((r'^    title_feature: "title"\n    title_weight: 2\n', ""),
                (r'^feature \{ name: "title".*\n', ""),
                (r'^table \{\n  name: "word"\n(?:.*\n)*?\}\n', ""))),
         Entry("without dropout", "onlineretail",
               ((r"history_dropout: 0.6", "history_dropout: 0"),
                (r"user_dropout: 0.4", "user_dropout: 0"))),
         Entry("with a context tower (country)", "onlineretail",
               ((r"^    initial_scale: 10\n",
                 '    initial_scale: 10\n    context { feature: "country" }\n'),
                (r"^feature \{ name: \"title\"",
                 'feature { name: "country" column: "country" table: "country" }\n'
                 'feature { name: "title"'),
                (r'^table \{\n  name: "word"',
                 'table {\n  name: "country"\n  dim: 8\n'
                 "  optimizer { adamw { learning_rate: 0.003 } }\n}\n"
                 'table {\n  name: "word"')))]),
    "onlineretail99": Row(
        "Q11", "Online Retail: what customers bought in the last 30 days, each ranked among 99 "
        "items that the customer never had, drawn by the job's seed", "onlineretail", (), (1, 2, 3),
        RANK_99, {},
        "one setting for all; compared on the month before",
        [Entry("NAM-style [OURS]", "onlineretail_nam", beats=("the same, its gate open",)),
         Entry("the same, its gate open", "onlineretail_nam",
               ((r"^    sampled_events: 64\n", r"\g<0>    gate: OPEN\n"),)),
         Entry("the same without normalisation", "onlineretail_nam", NO_NORMALISATION)],
        "What the gate and the normalisation add lies within the spread of the seeds, after one "
        "epoch over eleven months. That the gate learns to grow with rarity is shown on planted "
        "data (docs/models/search.md), not here. Next: more epochs, and the gate's level by rarity "
        "among the metrics."),
}


def figure_name(row, entry, metric):
    """What bench/figures calls the mean of a metric."""
    return re.sub(r"[^a-z0-9@]+", "_", f"{row} {entry.label} {metric}".lower()).strip("_")
