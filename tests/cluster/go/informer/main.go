// Command informer shows what a client-go informer sees: informer NAMESPACE, with KUBECONFIG set.
//
// It lists and watches the ConfigMaps of the namespace that carry its label, makes three of them,
// changes one and deletes one, and prints each event in the order in which it arrived.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(namespace string) error {
	ctx, stop := context.WithTimeout(context.Background(), 45*time.Second)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	labels := map[string]string{"informer": "seen"}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "informer=seen" }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	// One sends, one receives: an event that never comes is told by the deadline.
	events := make(chan string, 64)
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { events <- "added " + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, o any) {
			events <- "updated " + o.(*corev1.ConfigMap).Name + " to " + o.(*corev1.ConfigMap).Data["v"]
		},
		DeleteFunc: func(o any) { events <- "deleted " + o.(*corev1.ConfigMap).Name },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("the cache was never filled")
	}
	maps := client.CoreV1().ConfigMaps(namespace)
	expect := func(n int) error {
		for range n {
			select {
			case event := <-events:
				fmt.Println(event)
			case <-ctx.Done():
				return fmt.Errorf("an event is missing")
			}
		}
		return nil
	}
	for _, name := range []string{"informed-1", "informed-2", "informed-3"} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"v": "1"}}
		if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := expect(3); err != nil {
		return err
	}
	changed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "informed-2", Labels: labels}, Data: map[string]string{"v": "2"}}
	if _, err := maps.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "informed-3", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return expect(2)
}
